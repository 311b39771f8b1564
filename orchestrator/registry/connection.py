"""Speaking to MLflow: bounded waiting, one workspace per call, and errors of our own."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from orchestrator.registry.errors import RegistryError, RegistryRefused, RegistryUnavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient

PROBE_TIMEOUT_S: Final = 3

# MLflow reads these from the environment at every request and takes no argument instead. Its own defaults wait for
# 120 s and try 8 times, which would hold up every other job's publishing. What the operator has set stays.
_DEFAULTS: Final = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",  # seconds; the server answers an upload only once it is stored
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_CREDENTIALS_REFUSED: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_DATABASE_RACE: Final = re.compile(r"IntegrityError|OperationalError|StaleDataError")
"""MLflow answers 400 when two writers meet in its database; the loser may simply try again."""
_USER_INFO: Final = re.compile(r"//[^/@\s]+@")


def connect(tracking_uri: str) -> "MlflowClient":
    """A client whose server answered just now. Raises RegistryUnavailable within seconds when it does not.

    A server that answers, but not as MLflow with workspaces, counts as unavailable: the operator can put it right.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    with translated_errors():
        _probe(tracking_uri)
        return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def _probe(tracking_uri: str) -> None:
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request
    from mlflow.utils.server_info import SERVER_INFO_ENDPOINT, SERVER_INFO_WORKSPACES_ENABLED

    credentials = get_default_host_creds(tracking_uri)
    answer = http_request(credentials, SERVER_INFO_ENDPOINT, "GET", timeout=PROBE_TIMEOUT_S, max_retries=0)
    if answer.status_code in _CREDENTIALS_REFUSED:
        answer.raise_for_status()
    if answer.status_code != HTTPStatus.OK:
        raise RegistryUnavailable(f"The tracking URI answers {answer.status_code} where MLflow would describe itself.")
    if not answer.json().get(SERVER_INFO_WORKSPACES_ENABLED):
        raise RegistryUnavailable("MLflow keeps no tenants apart; start it with `mlflow server --enable-workspaces`.")


@contextmanager
def workspace(name: str) -> Iterator[None]:
    """Send the requests of this thread to the workspace `name`.

    `mlflow.set_workspace` also writes the process environment, so two threads would publish into each other's
    workspaces; MLflow's own server-side context sets the context variable alone.
    """
    from mlflow.utils.workspace_context import ServerWorkspaceContext

    with ServerWorkspaceContext(name):
        yield


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn what MLflow's client raises into the errors of this package, without credentials in their text."""
    import requests
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise _translated(error.get_http_status_code(), error) from None
    except requests.RequestException as error:
        raise _translated(None if error.response is None else error.response.status_code, error) from None


def already_exists(error: Exception) -> bool:
    """Whether a create failed because somebody else was first."""
    return getattr(error, "error_code", None) == "RESOURCE_ALREADY_EXISTS"


def does_not_exist(error: Exception) -> bool:
    """Whether a look-up failed because there is no such thing."""
    return getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"


def _translated(status: int | None, error: Exception) -> RegistryError:
    text = _USER_INFO.sub("//", str(error))
    if status in _CREDENTIALS_REFUSED:
        return RegistryUnavailable(f"MLflow refused our credentials; check MLFLOW_TRACKING_USERNAME. It said: {text}")
    if status is None or status in (408, 429) or status >= 500 or _DATABASE_RACE.search(text):
        return RegistryUnavailable(f"MLflow is not available: {text}")
    return RegistryRefused(f"MLflow refused the adapter: {text}")

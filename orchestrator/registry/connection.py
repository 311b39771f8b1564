"""Connections to MLflow: bounded waits, one workspace per call, and translated errors."""

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

# MLflow reads these from the environment at every request and takes no argument instead. Its defaults, 120 s and 8
# tries, would block every other job's publishing. Values set by the operator stay.
_DEFAULTS: Final = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",  # seconds; the server responds to an upload only once it is stored
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_CREDENTIALS_REFUSED: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_DATABASE_RACE: Final = re.compile(r"IntegrityError|OperationalError|StaleDataError")
"""MLflow returns 400 when two writers conflict in its database; the loser may retry."""
_USER_INFO: Final = re.compile(r"//[^/@\s]+@")


def connect(tracking_uri: str) -> "MlflowClient":
    """A client of a server that just responded. Raises RegistryUnavailable within seconds otherwise.

    A server that is not MLflow with workspaces counts as unavailable, because the operator can fix that.
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
        raise RegistryUnavailable(
            f"The tracking URI returns {answer.status_code} where MLflow returns its server info."
        )
    if not answer.json().get(SERVER_INFO_WORKSPACES_ENABLED):
        raise RegistryUnavailable("MLflow does not isolate tenants. Start it with `mlflow server --enable-workspaces`.")


@contextmanager
def workspace(name: str) -> Iterator[None]:
    """Send this thread's requests to the workspace `name`.

    `mlflow.set_workspace` also writes the process environment, so two threads would publish into each other's
    workspaces. MLflow's server-side context manager sets only the context variable.
    """
    from mlflow.utils.workspace_context import ServerWorkspaceContext

    with ServerWorkspaceContext(name):
        yield


@contextmanager
def translated_errors() -> Iterator[None]:
    """Translate errors of MLflow's client into errors of this package, without credentials in their text."""
    import requests
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise _translated(error.get_http_status_code(), error) from None
    except requests.RequestException as error:
        raise _translated(None if error.response is None else error.response.status_code, error) from None


def already_exists(error: Exception) -> bool:
    """Whether a create failed because the object already exists."""
    return getattr(error, "error_code", None) == "RESOURCE_ALREADY_EXISTS"


def does_not_exist(error: Exception) -> bool:
    """Whether a lookup failed because the object does not exist."""
    return getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"


def _translated(status: int | None, error: Exception) -> RegistryError:
    text = _USER_INFO.sub("//", str(error))
    if status in _CREDENTIALS_REFUSED:
        return RegistryUnavailable(
            f"MLflow rejected the credentials. Check MLFLOW_TRACKING_USERNAME. Its answer: {text}"
        )
    if status is None or status in (408, 429) or status >= 500 or _DATABASE_RACE.search(text):
        return RegistryUnavailable(f"MLflow is not available: {text}")
    return RegistryRefused(f"MLflow refused the adapter: {text}")

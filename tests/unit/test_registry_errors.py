"""What MLflow's client raises, and what becomes of it."""

import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    PERMISSION_DENIED,
    REQUEST_LIMIT_EXCEEDED,
    TEMPORARILY_UNAVAILABLE,
    UNAUTHENTICATED,
)

from orchestrator.registry.connection import translated_errors
from orchestrator.registry.errors import RegistryError, RegistryRefused, RegistryUnavailable


def http_error(status: int) -> requests.HTTPError:
    answer = requests.Response()
    answer.status_code = status
    return requests.HTTPError("from https://someone:hunter2@mlflow.example.test/api", response=answer)


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        (MlflowException("API request to http://a:hunter2@b/ failed with exception refused"), RegistryUnavailable),
        (MlflowException("busy", TEMPORARILY_UNAVAILABLE), RegistryUnavailable),
        (MlflowException("slow down", REQUEST_LIMIT_EXCEEDED), RegistryUnavailable),
        (MlflowException("who are you", UNAUTHENTICATED), RegistryUnavailable),
        (MlflowException("not you", PERMISSION_DENIED), RegistryUnavailable),
        (MlflowException("bad name", INVALID_PARAMETER_VALUE), RegistryRefused),
        (MlflowException("(IntegrityError) two writers", INVALID_PARAMETER_VALUE), RegistryUnavailable),
        (requests.ConnectionError("https://someone:hunter2@mlflow.example.test"), RegistryUnavailable),
        (http_error(502), RegistryUnavailable),
        (http_error(401), RegistryUnavailable),
        (http_error(413), RegistryRefused),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value)[:20],
)
def test_only_what_the_server_will_refuse_again_is_refused_for_good(
    raised: Exception, becomes: type[RegistryError]
) -> None:
    with pytest.raises(RegistryError) as caught, translated_errors():
        raise raised
    assert type(caught.value) is becomes
    assert "hunter2" not in str(caught.value)

"""The mark of a deleted model in MLflow: a tag on its version, and no alias that leads there."""

from datetime import datetime
from typing import TYPE_CHECKING, Final

from orchestrator.registry.connection import does_not_exist

if TYPE_CHECKING:
    from mlflow import MlflowClient

DELETED: Final = "orchard.deleted"


def retract_version(client: "MlflowClient", name: str, version: str, deleted_at: datetime) -> None:
    """Mark the version in the workspace of the context. Deleting it would take away the record of what was trained."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_model_version(name, version)
    except MlflowException as error:
        if does_not_exist(error):
            return
        raise
    client.set_model_version_tag(name, version, DELETED, deleted_at.isoformat())
    for alias in found.aliases:
        if _leads_to(client, name, alias, version):  # a newer version may have taken it meanwhile
            client.delete_registered_model_alias(name, alias)


def _leads_to(client: "MlflowClient", name: str, alias: str, version: str) -> bool:
    return str(client.get_model_version_by_alias(name, alias).version) == version

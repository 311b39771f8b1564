"""Marks a deleted model in MLflow: tags its version, removes its aliases and deletes its logged model."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeVar

from orchestrator.registry.connection import does_not_exist

if TYPE_CHECKING:
    from mlflow import MlflowClient

DELETED: Final = "orchard.deleted"
T = TypeVar("T")


def mark_version_deleted(client: "MlflowClient", name: str, version: str, deleted_at: datetime) -> None:
    """Mark the version in the current workspace. Deleting it would remove the record of what was trained.

    MLflow no longer lists a deleted logged model; its files stay where the version points until `mlflow gc`.
    """
    found = _unless_gone(lambda: client.get_model_version(name, version))
    if found is None:
        return
    client.set_model_version_tag(name, version, DELETED, deleted_at.isoformat())
    for alias in found.aliases:
        if _leads_to(client, name, alias, version):  # a newer version may have taken it since
            client.delete_registered_model_alias(name, alias)
    scheme, _, model_id = str(found.source).partition("models:/")
    if not scheme and model_id:
        _unless_gone(lambda: client.delete_logged_model(model_id))


def _unless_gone(ask: Callable[[], T]) -> T | None:
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        if does_not_exist(error):
            return None
        raise


def _leads_to(client: "MlflowClient", name: str, alias: str, version: str) -> bool:
    return str(client.get_model_version_by_alias(name, alias).version) == version

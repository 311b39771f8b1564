"""What a tenant's jobs share in MLflow: workspace, experiment, base, registered model. Each is found or created."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from orchestrator.registry.connection import already_exists
from orchestrator.registry.mlmodel import EXTERNAL, MLMODEL_FILE, external_mlmodel
from orchestrator.registry.port import Publication
from orchestrator.registry.provenance import BASE_ID, BASE_SHA256, base_params

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

EXPERIMENT: Final = "fine-tuning"
_LOGGED_MODEL_UNSAFE: Final = str.maketrans(dict.fromkeys("/:.%\"'", "-"))


@dataclass(frozen=True)
class TenantSpace:
    """The ids that a job's records refer to."""

    experiment_id: str
    base_model_id: str


def ensure_workspace(client: "MlflowClient", name: str) -> None:
    """Create the workspace unless it exists. Needs no workspace context."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_workspace(name)
    except MlflowException as error:
        if not already_exists(error):
            raise


def ensure_tenant_space(client: "MlflowClient", publication: Publication) -> TenantSpace:
    """Find or create what this publication refers to in the current workspace."""
    experiment_id = _ensure_experiment(client)
    base = _ensure_base(client, experiment_id, publication)
    _ensure_registered_model(client, publication)
    return TenantSpace(experiment_id, base.model_id)


def finalize_with(client: "MlflowClient", model: "LoggedModel", mlmodel: str) -> None:
    """Add the MLmodel file last and mark the model READY. Repeatable until then."""
    from mlflow.entities import LoggedModelStatus

    with TemporaryDirectory() as folder:
        (Path(folder) / MLMODEL_FILE).write_text(mlmodel, encoding="utf-8")
        client.log_model_artifacts(model.model_id, folder)
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def logged_model_name(text: str) -> str:
    """`text` without the characters that MLflow rejects in a logged model's name."""
    return text.translate(_LOGGED_MODEL_UNSAFE)


def _ensure_experiment(client: "MlflowClient") -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        try:
            return str(client.create_experiment(EXPERIMENT))
        except MlflowException as error:
            if not already_exists(error):
                raise
            found = client.get_experiment_by_name(EXPERIMENT)
    return str(found.experiment_id)


def _ensure_base(client: "MlflowClient", experiment_id: str, publication: Publication) -> "LoggedModel":
    """The base as an external model: a name with digests, no weights. Each workspace needs its own."""
    import mlflow
    from mlflow.entities import LoggedModelStatus

    base, digest = publication.spec.base, publication.manifest.base_digest
    candidates = client.search_logged_models(
        [experiment_id], f"tags.`{BASE_SHA256}` = '{digest}' AND tags.`{EXTERNAL}` = 'true'"
    )
    model = next((found for found in candidates if found.tags[BASE_ID] == base.id), None)
    if model is None:
        model = client.create_logged_model(
            experiment_id,
            name=logged_model_name(base.id),
            tags={EXTERNAL: "true", BASE_ID: base.id, BASE_SHA256: digest},
            params=base_params(publication),
            model_type="base",
        )
    if model.status != LoggedModelStatus.READY:
        document = external_mlmodel(
            model_id=model.model_id, created_ms=model.creation_timestamp, mlflow=mlflow.__version__
        )
        finalize_with(client, model, document)
    return model


def _ensure_registered_model(client: "MlflowClient", publication: Publication) -> None:
    from mlflow.exceptions import MlflowException

    description = f"Adapters for `{publication.spec.base.id}`, one version per job."
    try:
        client.create_registered_model(publication.name, description=description)
    except MlflowException as error:
        if not already_exists(error):
            raise

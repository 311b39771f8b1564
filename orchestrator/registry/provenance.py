"""An adapter's provenance as MLflow tags and params. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from orchestrator.registry.port import Publication
from workers.contract.spec import DatasetRef

JOB_ID: Final = "orchard.job_id"
ADAPTER_SHA256: Final = "orchard.adapter_sha256"
BASE_ID: Final = "orchard.base_id"
BASE_SHA256: Final = "orchard.base_sha256"


def adapter_tags(publication: Publication) -> dict[str, str]:
    """The provenance tags of run, logged model and version."""
    spec, manifest = publication.spec, publication.manifest
    validation = spec.data.validation
    return _present(
        {
            JOB_ID: publication.job_id,
            "orchard.attempt": publication.attempt,
            "orchard.tenant_id": spec.tenant_id,
            "orchard.fine_tuned_model": publication.fine_tuned_model,
            "orchard.version": publication.orchard_version,
            "orchard.job_url": publication.job_url,
            BASE_ID: spec.base.id,
            "orchard.base_source": spec.base.source,
            "orchard.base_revision": spec.base.revision,
            BASE_SHA256: manifest.base_digest,
            "orchard.license": publication.base_license,
            "orchard.quantization": spec.quantization,
            "orchard.compute_dtype": spec.compute_dtype,
            "orchard.peft_type": spec.method.type.upper(),
            **{f"orchard.{name}": value for name, value in spec.method.facts().items()},
            "orchard.task": spec.task.type,
            "orchard.lane": spec.lane,
            "orchard.seed": spec.seed,
            ADAPTER_SHA256: manifest.adapter_sha256,
            "orchard.chat_template_sha256": manifest.chat_template_sha256,
            "orchard.dataset_id": spec.data.training.file_id,
            "orchard.dataset_sha256": spec.data.training.sha256,
            "orchard.validation_dataset_id": validation.file_id if validation else None,
            "orchard.validation_dataset_sha256": validation.sha256 if validation else None,
            "orchard.eval_loss_before": publication.eval_loss_before,
            "orchard.eval_loss_after": publication.eval_loss_after,
            "orchard.best_step": publication.best_step,
        }
    )


def hyperparameters(publication: Publication) -> dict[str, str]:
    """Every resolved number of the job, for example `training.learning_rate`."""
    spec = publication.spec
    groups = {
        "method": spec.method.model_dump(mode="json"),
        "training": spec.training.model_dump(mode="json"),
        "data": spec.data.options.model_dump(mode="json", exclude_defaults=True) | {"overlength": spec.data.overlength},
    }
    flat = {f"{group}.{key}": value for group, values in groups.items() for key, value in values.items()}
    return _present(flat | {"base": spec.base.id, "quantization": spec.quantization, "seed": spec.seed})


def base_params(publication: Publication) -> dict[str, str]:
    """Params that identify the base, for its logged model."""
    base = publication.spec.base
    return _present(
        {
            "id": base.id,
            "source": base.source,
            "revision": base.revision,
            "sha256": publication.manifest.base_digest,
            "license": publication.base_license,
            "parameters": base.shape.parameters,
        }
    )


def datasets(publication: Publication) -> dict[str, DatasetRef]:
    """The data files by MLflow's name for their use."""
    data = publication.spec.data
    return {"training": data.training} | ({"validation": data.validation} if data.validation else {})


def _present(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: _text(value) for key, value in values.items() if value is not None}


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

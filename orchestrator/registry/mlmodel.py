"""The `MLmodel` file of a published adapter, which MLflow reads to load it. Pure.

The `transformers` flavor's keys are private to MLflow (`mlflow.transformers.flavor_config.FlavorKey`); MLflow is pinned
and a contract test loads what is written here. The `peft` flavor is plain data, for readers without MLflow.
"""

import json
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final

import yaml

from orchestrator.registry.port import Publication
from workers.contract.base import ComputeDtype

MLMODEL_FILE: Final = "MLmodel"
PEFT_FOLDER: Final = "peft"
TOKENIZER_FOLDER: Final = "components/tokenizer"
CHAT_TASK: Final = "llm/v1/chat"
EXTERNAL: Final = "mlflow.model.isExternal"
_TORCH_DTYPES: Final = {ComputeDtype.BF16: "torch.bfloat16", ComputeDtype.FP32: "torch.float32"}


def adapter_mlmodel(publication: Publication, *, model_id: str, run_id: str, created_ms: int, mlflow: str) -> str:
    """The file of an adapter. `created_ms` is Unix time, `mlflow` the version of the client."""
    document = _head(model_id, run_id, created_ms, mlflow)
    document["flavors"] = {"transformers": _transformers_flavor(publication), "peft": _peft_flavor(publication)}
    document["metadata"] = _metadata(publication)
    if _chats(publication):
        document["flavors"]["python_function"] = {"loader_module": "mlflow.transformers"}
        document["signature"] = _chat_signature()
        document["metadata"]["task"] = CHAT_TASK
    return _yaml(document)


def external_mlmodel(*, model_id: str, created_ms: int, mlflow: str) -> str:
    """The file of a base, which says that the weights are stored elsewhere."""
    return _yaml(_head(model_id, None, created_ms, mlflow) | {"flavors": {}, "metadata": {EXTERNAL: True}})


def _head(model_id: str, run_id: str | None, created_ms: int, mlflow: str) -> dict[str, Any]:
    created = datetime.fromtimestamp(created_ms / 1000, UTC).replace(tzinfo=None)
    head = {"model_id": model_id, "model_uuid": model_id, "mlflow_version": mlflow, "utc_time_created": str(created)}
    return head | ({"run_id": run_id} if run_id else {})


def _transformers_flavor(publication: Publication) -> dict[str, Any]:
    """Auto classes everywhere: the base's config names its architecture."""
    base = publication.spec.base
    flavor = {
        "task": "text-generation",
        "instance_type": "TextGenerationPipeline",
        "pipeline_model_type": "AutoModelForCausalLM",
        "source_model_name": base.location,
        "local_base_model_path": publication.base_path or base.location,
        "peft_adaptor": PEFT_FOLDER,
        "components": ["tokenizer"],
        "tokenizer_type": "AutoTokenizer",
        "torch_dtype": _TORCH_DTYPES[publication.spec.compute_dtype],
        "code": None,
    }
    return flavor | ({"inference_task": CHAT_TASK} if _chats(publication) else {})


def _peft_flavor(publication: Publication) -> dict[str, Any]:
    spec = publication.spec
    return {
        "adapter": PEFT_FOLDER,
        "tokenizer": TOKENIZER_FOLDER,
        "peft_type": spec.method.type.upper(),
        "base_model": spec.base.id,
        "base_source": spec.base.source,
        "base_revision": spec.base.revision,
        "base_sha256": publication.manifest.base_digest,
        "quantization": str(spec.quantization),
        "adapter_sha256": publication.manifest.adapter_sha256,
    }


def _metadata(publication: Publication) -> dict[str, Any]:
    return {
        "orchard_job_id": publication.job_id,
        "fine_tuned_model": publication.fine_tuned_model,
        "base_model": publication.spec.base.id,
        "base_revision": publication.spec.base.revision,
        "license": publication.base_license,
    }


def _chats(publication: Publication) -> bool:
    """Whether the tokenizer can render a conversation."""
    return publication.manifest.chat_template_sha256 is not None


def _chat_signature() -> dict[str, Any]:
    """MLflow's signature of `llm/v1/chat`, stored as data because building it needs torch and numpy."""
    signature: dict[str, Any] = json.loads(files(__package__).joinpath("chat_signature.json").read_text())
    return signature


def _yaml(document: dict[str, Any]) -> str:
    return yaml.safe_dump(document, sort_keys=True, allow_unicode=True)

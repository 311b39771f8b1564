"""A checkpoint's adapter as one tar stream, in the layout that PEFT loads. The optimizer's state stays behind."""

import hashlib
import json
from typing import Any, Final

from pydantic import ValidationError

from orchestrator.errors import StorageDown
from orchestrator.files.storage import read_all
from orchestrator.jobs.archive import AdapterArchive, MadeEntry, StoredEntry, archive
from orchestrator.jobs.checkpoint_models import CheckpointModel
from workers.contract.reports import CheckpointManifest
from workers.contract.spec import JobSpec

_MANIFEST: Final = "manifest.json"
_WEIGHTS: Final = "adapter.safetensors"  # tensors by the names PEFT gives them


def open_checkpoint_adapter(checkpoint: CheckpointModel) -> AdapterArchive:
    """Raises: StorageDown, also when the checkpoint in storage is not the one that was recorded."""
    root = checkpoint.row.uri.rstrip("/")
    content = read_all(f"{root}/{_MANIFEST}")
    if hashlib.sha256(content).hexdigest() != checkpoint.row.manifest_sha256:
        raise StorageDown(f"The checkpoint {checkpoint.name} is damaged in storage.", code="checkpoint_damaged")
    try:
        manifest = CheckpointManifest.model_validate_json(content)
        weights = next(file for file in manifest.files if file.path == _WEIGHTS)
    except (ValidationError, StopIteration):
        raise StorageDown(f"The checkpoint {checkpoint.name} cannot be read.", code="checkpoint_damaged") from None
    config = json.dumps(peft_config(JobSpec.model_validate(checkpoint.job.spec)), indent=2).encode()
    entries = (
        StoredEntry("peft/adapter_model.safetensors", f"{root}/{_WEIGHTS}", weights.bytes),
        MadeEntry("peft/adapter_config.json", config),
    )
    return archive(checkpoint.row.id, entries, checkpoint.row.created_at)


def peft_config(spec: JobSpec) -> dict[str, Any]:
    """What PEFT's `adapter_config.json` says of a LoRA adapter; fields left out have PEFT's defaults."""
    method = spec.method
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": spec.base.location,
        "revision": spec.base.revision,
        "inference_mode": True,
        "r": method.rank,
        "lora_alpha": method.alpha,
        "lora_dropout": method.dropout,
        "target_modules": list(method.target_modules),
        "use_rslora": method.rslora,
        "bias": "none",
    }

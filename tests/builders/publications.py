"""A finished adapter without torch, and the publication that describes it."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from orchestrator.lifecycle.model_names import fine_tuned_model_name, registered_name
from orchestrator.registry.port import MetricPoint, Publication
from tests.builders.specs import make_job_spec
from workers.contract.reports import AdapterManifest, FileDigest
from workers.contract.spec import JobSpec

BASE_DIGEST = hashlib.sha256(b"base").hexdigest()
CURVE = tuple(MetricPoint(step, "train_loss", 2.0 / step) for step in range(1, 7))


def write_adapter(folder: Path) -> None:
    """The layout that workers save, with one tiny tensor."""
    for name, content in {
        "peft/adapter_config.json": json.dumps({"peft_type": "LORA", "r": 4}).encode(),
        "peft/adapter_model.safetensors": _safetensors(),
        "components/tokenizer/tokenizer.json": b"{}",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def make_manifest(folder: Path, **changes: Any) -> AdapterManifest:
    """The manifest that a worker reports for the adapter in `folder`."""
    files = tuple(
        FileDigest(
            path=path.relative_to(folder).as_posix(),
            bytes=path.stat().st_size,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )
    weights = next(file for file in files if file.path.endswith(".safetensors"))
    template = hashlib.sha256(b"template").hexdigest()
    fields: dict[str, Any] = {
        "uri": folder.as_uri(),
        "files": files,
        "adapter_sha256": weights.sha256,
        "base_digest": BASE_DIGEST,
        "chat_template_sha256": template,
    }
    return AdapterManifest(**(fields | changes))


def make_publication(folder: Path, tenant_slug: str, spec: JobSpec | None = None, **changes: Any) -> Publication:
    """The adapter in `folder/adapter` (written unless it is there), as a job of `tenant_slug`."""
    adapter = folder / "adapter"
    if not adapter.exists():
        write_adapter(adapter)
    spec = spec or make_job_spec(folder)
    fields: dict[str, Any] = {
        "spec": spec,
        "attempt": 1,
        "tenant_slug": tenant_slug,
        "name": registered_name("support-bot", spec.base.id),
        "fine_tuned_model": fine_tuned_model_name(spec.base.id, tenant_slug, "support-bot", spec.job_id),
        "manifest": make_manifest(adapter),
        "orchard_version": "0.1.0",
        "base_license": "apache-2.0",
        "eval_loss_before": 2.5,
        "eval_loss_after": 0.5,
        "metrics": CURVE,
        "job_url": f"https://orchard.example.test/jobs/{spec.job_id}",
    }
    return Publication(**(fields | changes))


def _safetensors() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(header)) + header + struct.pack("<f", 1.0)

"""Checkpoints: one folder per saved step. It is complete or absent, and its digests are verified before it is used.

Layout below `<output_uri>/a<attempt>/step-<n>/`: `adapter.safetensors`, `optimizer.safetensors`, `state.json`; with
early stopping, `best.safetensors` (the weights it would publish); and, written last, `manifest.json`. The path includes
the attempt, so a worker that outlived its lease writes only into its own folder. Nothing is unpickled. The control
plane decides which checkpoints to keep.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from workers.contract.errors import StorageMissing
from workers.contract.failpoints import failpoint
from workers.contract.reports import CheckpointManifest, CheckpointRejected, FileDigest, SamplerPosition
from workers.contract.spec import CheckpointRef, JobSpec, SeatAssignment
from workers.storage import (
    UnsafePath,
    child,
    digest_folder,
    fetch_file,
    file_sha256,
    publish_folder,
    read_bytes,
    scratch,
)

MANIFEST: Final = "manifest.json"
WEIGHTS: Final = "adapter.safetensors"
MOMENTS: Final = "optimizer.safetensors"
BEST: Final = "best.safetensors"
STATE: Final = "state.json"
_LIBRARIES: Final = ("torch", "transformers", "peft", "safetensors")
_TENSORS: Final = ("weights", "moments", "best_weights")


class CheckpointCorrupt(Exception):
    """A checkpoint does not match its manifest or its reference."""


@dataclass(frozen=True)
class Snapshot:
    """The state of a seat after `step` optimizer steps. The step is the data cursor and seeds every random stream."""

    step: int
    epoch: float
    batch: int
    """Finished batches of the current epoch."""
    trained_tokens: int
    train_loss: float | None
    eval_loss_before: float | None
    eval_step: int | None
    eval_loss: float | None
    eval_accuracy: float | None
    weights: Mapping[str, Tensor] = field(repr=False)
    moments: Mapping[str, Tensor] = field(repr=False)
    stale_evaluations: int = 0
    best_step: int | None = None
    best_eval_loss: float | None = None
    best_eval_accuracy: float | None = None
    best_weights: Mapping[str, Tensor] = field(default_factory=dict, repr=False)


def save_checkpoint(assignment: SeatAssignment, snapshot: Snapshot, base_digest: str) -> CheckpointManifest:
    """Write `snapshot` and return its manifest. A partial folder is never visible. Raises StorageUnavailable."""
    uri = child(assignment.spec.output_uri, f"a{assignment.attempt}", f"step-{snapshot.step}")
    with scratch("checkpoint") as folder:
        save_file(dict(snapshot.weights), folder / WEIGHTS, metadata={"format": "pt"})
        save_file(dict(snapshot.moments), folder / MOMENTS, metadata={"format": "pt"})
        if snapshot.best_weights:
            save_file(dict(snapshot.best_weights), folder / BEST, metadata={"format": "pt"})
        (folder / STATE).write_text(json.dumps(_scalars(snapshot)))
        manifest = _describe(assignment, snapshot, base_digest, uri, digest_folder(folder))
        written = manifest.model_dump_json(indent=2).encode()
        (folder / MANIFEST).write_bytes(written)
        publish_folder(folder, uri, last=MANIFEST)
    failpoint("checkpoint.written")
    digest = hashlib.sha256(written).hexdigest()
    return manifest.model_copy(update={"lease_token": assignment.lease_token, "manifest_sha256": digest})


def adapter_config_sha256(spec: JobSpec) -> str:
    """Digest of the job's method. Weights saved under another method are not interchangeable."""
    return hashlib.sha256(spec.method.model_dump_json().encode()).hexdigest()


def _describe(
    assignment: SeatAssignment, snapshot: Snapshot, base_digest: str, uri: str, files: tuple[FileDigest, ...]
) -> CheckpointManifest:
    spec, evaluated = assignment.spec, snapshot.eval_step == snapshot.step
    return CheckpointManifest(
        job_id=spec.job_id,
        attempt=assignment.attempt,
        lease_token="",  # the lease guards the report and is not stored
        uri=uri,
        step=snapshot.step,
        epoch=snapshot.epoch,
        files=files,
        base_id=spec.base.id,
        base_digest=base_digest,
        adapter_config_sha256=adapter_config_sha256(spec),
        sampler=SamplerPosition(seed=spec.seed, epoch=int(snapshot.epoch), batch=snapshot.batch),
        libraries=_versions(),
        train_loss=snapshot.train_loss,
        full_valid_loss=snapshot.eval_loss if evaluated else None,
        full_valid_mean_token_accuracy=snapshot.eval_accuracy if evaluated else None,
    )


@cache
def _versions() -> dict[str, str]:
    return {library: version(library) for library in _LIBRARIES}


def newest_verified(
    assignment: SeatAssignment,
    base_digest: str,
    shapes: Mapping[str, tuple[int, ...]],
    report: Callable[[CheckpointRejected], None],
) -> Snapshot | None:
    """The first checkpoint of `assignment.resume_from` that verifies; None: start at step 0. Reports each rejected one.

    Raises StorageUnavailable: an outage does not make a checkpoint corrupt.
    """
    for ref in assignment.resume_from:
        try:
            return load_checkpoint(ref, assignment, base_digest, shapes)
        except (CheckpointCorrupt, StorageMissing) as error:
            report(
                CheckpointRejected(
                    job_id=assignment.spec.job_id,
                    attempt=assignment.attempt,
                    lease_token=assignment.lease_token,
                    uri=ref.uri,
                    step=ref.step,
                    why=str(error),
                )
            )
    return None


def load_checkpoint(
    ref: CheckpointRef, assignment: SeatAssignment, base_digest: str, shapes: Mapping[str, tuple[int, ...]]
) -> Snapshot:
    """Read and verify one checkpoint. Raises: CheckpointCorrupt, StorageUnavailable."""
    inside = ref.uri.startswith(assignment.spec.output_uri.rstrip("/") + "/")
    if not inside or ".." in ref.uri.split("/"):
        raise CheckpointCorrupt("the checkpoint is outside the job's output prefix")
    manifest = _read_manifest(ref, assignment, base_digest)
    with scratch("resume") as folder:
        for file in manifest.files:
            _fetch_verified(ref.uri, file, folder)
        snapshot = _read_snapshot(folder)
    adapters = [snapshot.weights] if snapshot.best_step is None else [snapshot.weights, snapshot.best_weights]
    if any({name: tuple(tensor.shape) for name, tensor in stored.items()} != dict(shapes) for stored in adapters):
        raise CheckpointCorrupt("the stored adapter's tensors do not match the job's")
    if snapshot.step != ref.step:
        raise CheckpointCorrupt(f"holds step {snapshot.step} but was recorded as step {ref.step}")
    return snapshot


def _fetch_verified(uri: str, file: FileDigest, folder: Path) -> None:
    try:
        source = child(uri, file.path)
    except UnsafePath as error:
        raise CheckpointCorrupt(str(error)) from error
    target = folder / file.path
    fetch_file(source, target)
    if (found := target.stat().st_size) != file.bytes:
        raise CheckpointCorrupt(f"{file.path} has {found} bytes but its manifest says {file.bytes}")
    if file_sha256(target) != file.sha256:
        raise CheckpointCorrupt(f"{file.path} does not match the digest in its manifest")


def _read_manifest(ref: CheckpointRef, assignment: SeatAssignment, base_digest: str) -> CheckpointManifest:
    raw = read_bytes(child(ref.uri, MANIFEST))
    if hashlib.sha256(raw).hexdigest() != ref.manifest_sha256:
        raise CheckpointCorrupt("manifest.json does not match the recorded digest")
    try:
        manifest = CheckpointManifest.model_validate_json(raw)
    except ValidationError as error:
        raise CheckpointCorrupt("manifest.json cannot be read") from error
    if manifest.job_id != assignment.spec.job_id:
        raise CheckpointCorrupt(f"belongs to job {manifest.job_id}")
    if manifest.base_digest != base_digest:
        raise CheckpointCorrupt("was trained on different base weights")
    if manifest.adapter_config_sha256 != adapter_config_sha256(assignment.spec):
        raise CheckpointCorrupt("was trained with a different adapter configuration")
    return manifest


def _read_snapshot(folder: Path) -> Snapshot:
    try:
        scalars: dict[str, Any] = json.loads((folder / STATE).read_bytes())
        best = load_file(folder / BEST) if scalars["best_step"] is not None else {}
        return Snapshot(
            weights=load_file(folder / WEIGHTS), moments=load_file(folder / MOMENTS), best_weights=best, **scalars
        )
    except (OSError, ValueError, TypeError, LookupError, SafetensorError) as error:
        raise CheckpointCorrupt(f"the stored state cannot be read: {type(error).__name__}") from error


def _scalars(snapshot: Snapshot) -> dict[str, Any]:
    return {key: value for key, value in vars(snapshot).items() if key not in _TENSORS}

"""Specs, seat assignments and data sets with defaults. They need no torch, so every test may use them."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workers.contract.base import BaseShape, BaseSpec, ComputeDtype, Quantization
from workers.contract.lanes import Lane
from workers.contract.methods import Lora
from workers.contract.rows import DatasetFormat
from workers.contract.spec import (
    CheckpointRef,
    DatasetRef,
    DataSpec,
    HostSpec,
    JobSpec,
    Limits,
    Overlength,
    SeatAssignment,
    TrainingSpec,
)

LEASE = "lease-token"
default_lane = Lane.FUSED
"""The lane of hosts whose test does not choose one; `tests/training` runs some tests once per lane."""


def make_base_spec(base_id: str = "tiny", source: str = "file:/nowhere/tiny", **changes: Any) -> BaseSpec:
    """A catalogue entry with the sizes of the tiny base, for tests that load no weights."""
    shape = BaseShape(
        parameters=107_000,
        vocab_size=261,
        hidden_size=64,
        intermediate_size=128,
        num_layers=2,
        query_size=64,
        key_value_size=32,
        max_positions=512,
    )
    fields: dict[str, Any] = {"revision": None, "weight_digest": None, "chat_template": None, "shape": shape}
    return BaseSpec(id=base_id, source=source, **(fields | changes))


def chat_row(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def sum_rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Chat rows of one simple pattern that a model of any size learns in a few steps."""
    return [chat_row(f"after {n}?", f"it is {n + 1}.") for n in range(start, start + count)]


def make_dataset(
    path: Path, rows: Sequence[dict[str, Any]] | None = None, format: DatasetFormat = DatasetFormat.CHAT
) -> DatasetRef:
    """Write `rows` (12 chat rows by default) as JSONL to `path` and return its reference."""
    lines = sum_rows(12) if rows is None else list(rows)
    data = "".join(json.dumps(row) + "\n" for row in lines).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return DatasetRef(file_id=f"file-{path.stem}", uri=path.as_uri(), sha256=digest, rows=len(lines), format=format)


def make_job_spec(
    folder: Path,
    base: BaseSpec | None = None,
    *,
    job_id: str = "ftjob-1",
    tenant_id: str = "tenant-a",
    training: DatasetRef | None = None,
    validation: DatasetRef | None = None,
    quantization: Quantization = Quantization.NONE,
    compute_dtype: ComputeDtype = ComputeDtype.FP32,
    lane: Lane | None = None,
    rank: int = 4,
    dropout: float = 0.0,
    targets: tuple[str, ...] = ("q_proj", "v_proj"),
    max_seq_len: int = 128,
    overlength: Overlength = Overlength.ERROR,
    seed: int = 7,
    max_runtime_s: int = 600,
    **training_changes: Any,
) -> JobSpec:
    """A small LoRA job that writes below `folder`; further keywords change its `TrainingSpec`."""
    training_fields: dict[str, Any] = {
        "n_epochs": 2,
        "batch_size": 4,
        "micro_batch_size": 2,
        "learning_rate": 1e-2,
        "checkpoint_interval_steps": 3,
        "eval_interval_steps": 3,
    }
    return JobSpec(
        job_id=job_id,
        tenant_id=tenant_id,
        base=base or make_base_spec(),
        quantization=quantization,
        compute_dtype=compute_dtype,
        lane=lane or default_lane,
        method=Lora(rank=rank, alpha=2.0 * rank, dropout=dropout, target_modules=targets),
        data=DataSpec(
            training=training or make_dataset(folder / "data" / f"{job_id}.jsonl"),
            validation=validation,
            max_seq_len=max_seq_len,
            overlength=overlength,
        ),
        training=TrainingSpec(**(training_fields | training_changes)),
        seed=seed,
        limits=Limits(max_runtime_s=max_runtime_s),
        output_uri=(folder / "jobs" / job_id).as_uri(),
    )


def make_order(
    spec: JobSpec, attempt: int = 1, lease_token: str = LEASE, resume_from: Sequence[CheckpointRef] = ()
) -> SeatAssignment:
    """The assignment; where the base is really there, the rows are encoded as they would be."""
    if spec.data.training.encoded is None and Path(spec.base.location).exists():
        from tests.builders.encoded import encode_to_store

        spec = encode_to_store(spec)
    return SeatAssignment(spec=spec, attempt=attempt, lease_token=lease_token, resume_from=tuple(resume_from))


def make_host_spec(
    folder: Path,
    base: BaseSpec | None = None,
    *,
    host_id: str = "host-1",
    quantization: Quantization = Quantization.NONE,
    compute_dtype: ComputeDtype = ComputeDtype.FP32,
    max_seats: int = 4,
    lane: Lane | None = None,
) -> HostSpec:
    return HostSpec(
        id=host_id,
        base=base or make_base_spec(),
        quantization=quantization,
        compute_dtype=compute_dtype,
        device="cpu",
        max_seats=max_seats,
        cache_dir=str(folder / "cache"),
        threads=None,
        lane=lane or default_lane,
    )

"""Rows with consistent defaults: a test sets what it is about, and the builder fills in the rest.

Every builder writes its row and returns it, detached but readable.
"""

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.db.columns import Base
from orchestrator.db.database import Database
from orchestrator.db.encoding_tables import EncodingRow, EncodingState
from orchestrator.db.job_tables import AttemptRow, CheckpointRow, JobRow
from orchestrator.db.states import DEADLINE_S, SEATED, TERMINAL, Desired, JobState, StopReason
from orchestrator.db.tables import FileRow, HostRow, TenantRow
from orchestrator.encodings.keys import encoded_uri, encoding_key, files_of
from orchestrator.ids import new_id, new_lease_token
from orchestrator.lifecycle.events import EventDraft, record
from orchestrator.lifecycle.model_names import fine_tuned_model_name
from tests.builders.scripted_encoder import encoded_ref
from tests.builders.specs import make_base_spec, make_host_spec, make_job_spec
from workers.contract.rows import DatasetFormat
from workers.contract.spec import DatasetRef, JobSpec

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
_NEVER_SEATED = frozenset({JobState.VALIDATING, JobState.QUEUED})
_numbers = itertools.count(1)


def _save(db: Database, *rows: Base) -> None:
    with db.write() as session:
        session.add_all(rows)


def make_tenant(db: Database, slug: str | None = None, **changes: Any) -> TenantRow:
    """A tenant that may use every base."""
    slug = slug or f"tenant-{next(_numbers)}"
    fields = {"id": new_id("tenant-"), "name": slug.title(), "allowed_bases": None, "created_at": NOW}
    row = TenantRow(slug=slug, **(fields | changes))
    _save(db, row)
    return row


def make_file(db: Database, tenant: TenantRow | None = None, **changes: Any) -> FileRow:
    """A processed chat file of 12 rows. Its bytes exist only if the test writes them to `uri`."""
    tenant = tenant or make_tenant(db)
    file_id = changes.pop("id", None) or new_id("file-")
    fields = {
        "filename": "train.jsonl",
        "purpose": "fine-tune",
        "bytes": 1_200,
        "sha256": "0" * 64,
        "uri": f"file:///nowhere/{file_id}/content",
        "status": "processed",
        "format": DatasetFormat.CHAT,
        "rows": 12,
        "created_at": NOW,
    }
    row = FileRow(id=file_id, tenant_id=tenant.id, **(fields | changes))
    _save(db, row)
    return row


def make_host(db: Database, state: str = "ready", base_id: str = "tiny", **changes: Any) -> HostRow:
    """A host that holds the tiny base without quantization, just polled."""
    host_id = changes.pop("id", None) or new_id("host-")
    spec = make_host_spec(Path("/nowhere"), make_base_spec(base_id), host_id=host_id)
    fields = {
        "base_id": base_id,
        "quantization": spec.quantization,
        "compute_dtype": spec.compute_dtype,
        "task": spec.task.type,
        "lane": spec.lane,
        "flavor": "cpu",
        "spec": spec.model_dump(mode="json"),
        "memory_bytes": 2_000_000_000,
        "activation_bytes": 10_000,
        "recomputed_bytes": 2_000,
        "vocab_size": spec.base.shape.vocab_size,
        "state": state,
        "created_at": NOW,
        "ready_at": NOW if state == "ready" else None,
        "last_seen_at": NOW,
    }
    row = HostRow(id=host_id, **(fields | changes))
    _save(db, row)
    return row


def make_job(
    db: Database,
    state: JobState = JobState.QUEUED,
    tenant: TenantRow | None = None,
    *,
    host: HostRow | None = None,
    lease_expires_in_s: float = 60,
    now: datetime = NOW,
    spec_changes: dict[str, Any] | None = None,
    **changes: Any,
) -> JobRow:
    """A job in `state`, with its tenant, file, first event and, where the state has a seat, host and live attempt.

    `changes` set columns of the row; `spec_changes` go to `make_job_spec`.
    """
    tenant = tenant or make_tenant(db)
    file = make_file(db, tenant)
    row = JobRow(**(_job_fields(state, tenant, file, now, changes.pop("id", None), spec_changes or {}) | changes))
    if "spec" not in changes and "training_encoding" not in changes and state is not JobState.VALIDATING:
        _encode(db, row, now)
    rows: list[Base] = [row]
    if state in SEATED:
        host = host or make_host(db, base_id=row.base_id)
        rows.append(_live_attempt(row, host, now, lease_expires_in_s))
    _save(db, row)
    _save(db, *rows[1:])
    with db.write() as session:
        record(session, tenant.id, row.id, EventDraft(f"Created fine-tuning job: {row.id}"), row.created_at)
        if state in TERMINAL:
            record(session, tenant.id, row.id, EventDraft("The end"), now, moved_to=state)
    return row


def _encode(db: Database, row: JobRow, now: datetime) -> None:
    """The job's files are encoded, as if an encoder had done it."""
    spec = JobSpec.model_validate(row.spec)
    changed = {}
    for role, dataset in files_of(spec):
        key = encoding_key(spec, dataset)
        uri = encoded_uri("file:///nowhere", spec.tenant_id, key)
        ref = encoded_ref(dataset, uri, key)
        setattr(row, f"{role}_encoding", key)
        changed[role] = dataset.model_copy(update={"encoded": ref})
        make_encoding(db, row, key, uri, EncodingState.DONE, encoded=ref.model_dump(mode="json"), created_at=now)
    row.spec = spec.model_copy(update={"data": spec.data.model_copy(update=changed)}).model_dump(mode="json")


def make_encoding(
    db: Database, job: JobRow, key: str, uri: str, state: EncodingState = EncodingState.WAITING, **changes: Any
) -> None:
    """An encoding of the job's training file, unless there is one of that key."""
    with db.write() as session:
        if session.get(EncodingRow, key) is None:
            fields = {"created_at": NOW, "used_at": NOW, "file_id": job.training_file_id} | changes
            session.add(EncodingRow(key=key, tenant_id=job.tenant_id, uri=uri, state=state, **fields))


def _job_fields(
    state: JobState, tenant: TenantRow, file: FileRow, now: datetime, job_id: str | None, spec_changes: dict[str, Any]
) -> dict[str, Any]:
    job_id = job_id or new_id("ftjob-")
    data = DatasetRef(file_id=file.id, uri=file.uri, sha256=file.sha256, rows=12, format=DatasetFormat.CHAT)
    spec = make_job_spec(
        Path("/nowhere"), **({"job_id": job_id, "tenant_id": tenant.id, "training": data} | spec_changes)
    )
    training = spec.training
    deadline = DEADLINE_S.get(state)
    return {
        "id": job_id,
        "tenant_id": tenant.id,
        "base_id": spec.base.id,
        "quantization": spec.quantization,
        "compute_dtype": spec.compute_dtype,
        "task": spec.task.type,
        "lane": spec.lane,
        "spec": spec.model_dump(mode="json"),
        "method": {
            "type": "supervised",
            "supervised": {
                "hyperparameters": {
                    "n_epochs": training.n_epochs,
                    "batch_size": training.batch_size,
                    "learning_rate_multiplier": training.learning_rate / 2e-4,
                }
            },
        },
        "seed": spec.seed,
        "training_file_id": file.id,
        "memory_bytes": spec.seat_bytes,
        "pass_tokens": spec.pass_tokens,
        "state": state,
        "desired": Desired.RUN,
        "state_since": now,
        "state_deadline": now + timedelta(seconds=deadline) if deadline else None,
        "stop_reason": StopReason.CANCEL if state is JobState.STOPPING else None,
        "not_before": now if state is JobState.BACKOFF else None,
        "attempt": 0 if state in _NEVER_SEATED else 1,
        "lease_token": new_lease_token() if state in SEATED else None,
        "created_at": now,
        "total_steps": training.total_steps(12),
        **_ending(state, job_id, tenant, spec.base.id, now),
    }


def _ending(state: JobState, job_id: str, tenant: TenantRow, base_id: str, now: datetime) -> dict[str, Any]:
    ending: dict[str, Any] = {"finished_at": now} if state in TERMINAL else {}
    if state is JobState.FAILED:
        ending |= {"error_code": "internal_error", "error_message": "Something went wrong on the worker."}
    if state is JobState.SUCCEEDED:
        ending |= {
            "fine_tuned_model": fine_tuned_model_name(base_id, tenant.slug, None, job_id),
            "registry_name": f"{tenant.slug}--{base_id}",
            "registry_version": "1",
            "trained_tokens": 1_000,
            "eval_loss_before": 2.0,
            "eval_loss_after": 1.0,
        }
    return ending


def _live_attempt(job: JobRow, host: HostRow, now: datetime, lease_expires_in_s: float) -> AttemptRow:
    return AttemptRow(
        job_id=job.id,
        number=job.attempt,
        tenant_id=job.tenant_id,
        host_id=host.id,
        lease_token=job.lease_token,
        lease_until=now + timedelta(seconds=lease_expires_in_s),
        memory_bytes=job.memory_bytes,
        started_at=now,
    )


def make_checkpoint(db: Database, job: JobRow, step: int, **changes: Any) -> CheckpointRow:
    """A committed checkpoint of the job's current attempt."""
    fields = {
        "attempt": max(job.attempt, 1),
        "uri": f"file:///nowhere/jobs/{job.id}/checkpoints/{step}",
        "manifest_sha256": "0" * 64,
        "metrics": {"train_loss": 1.5, "full_valid_loss": 1.6},
        "state": "committed",
        "created_at": NOW,
    }
    row = CheckpointRow(id=new_id("ftckpt_"), tenant_id=job.tenant_id, job_id=job.id, step=step, **(fields | changes))
    _save(db, row)
    return row

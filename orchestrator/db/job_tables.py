"""The tables of jobs, their attempts, checkpoints and events, and of idempotent submission."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import CheckConstraint, ForeignKey, Index, PrimaryKeyConstraint, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.db.columns import RESIDENT_KEY, Base, BigInt
from orchestrator.db.states import SEATED, TERMINAL, JobState


def _one_of(states: frozenset[JobState], column: str = "state") -> str:
    return f"{column} IN (" + ", ".join(f"'{state}'" for state in sorted(states)) + ")"


_LIVE_INDEXES: Final = (
    ("ix_job_turn", "state", *RESIDENT_KEY, "tenant_id", "priority", "seq"),
    ("ix_job_live_deadline", "state_deadline"),
    ("ix_job_live_desired", "desired", "state"),
    (
        "ix_job_live_tenant",
        "tenant_id",
        "finished_at",
    ),  # NULL in all; without it SQLite scans the tenant's whole history
)
"""Partial indexes on live jobs: a query with `finished_at IS NULL` skips the millions that ended."""


class JobRow(Base):
    """A tenant's job and its progress. Only `orchestrator.lifecycle.transition` writes `state`."""

    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint(f"({_one_of(TERMINAL)}) = (finished_at IS NOT NULL)", name="finished_at_iff_terminal"),
        CheckConstraint(f"({_one_of(SEATED)}) = (lease_token IS NOT NULL)", name="lease_iff_seated"),
        CheckConstraint("(finished_at IS NULL) = (state_deadline IS NOT NULL)", name="deadline_iff_live"),
        CheckConstraint("(state = 'stopping') = (stop_reason IS NOT NULL)", name="reason_iff_stopping"),
        CheckConstraint("state <> 'backoff' OR not_before IS NOT NULL", name="backoff_ends"),
        CheckConstraint("state <> 'cancelled' OR registering_at IS NULL", name="cancelled_was_not_registered"),
        CheckConstraint("(state = 'failed') = (error_code IS NOT NULL)", name="error_iff_failed"),
        CheckConstraint("state <> 'succeeded' OR fine_tuned_model IS NOT NULL", name="succeeded_has_model"),
        Index("ix_job_tenant_id_seq", "tenant_id", "seq"),
        Index("ix_job_tenant_id_post_sha256_created_at", "tenant_id", "post_sha256", "created_at"),
        Index(
            "ix_job_unpublished",
            "model_deleted_at",
            postgresql_where=text("model_deleted_at IS NOT NULL AND unpublished_at IS NULL"),
            sqlite_where=text("model_deleted_at IS NOT NULL AND unpublished_at IS NULL"),
        ),
        Index(
            "ix_job_kept_host_id",
            "kept_host_id",
            postgresql_where=text("kept_host_id IS NOT NULL"),
            sqlite_where=text("kept_host_id IS NOT NULL"),
        ),
        *(
            Index(
                name, *columns, postgresql_where=text("finished_at IS NULL"), sqlite_where=text("finished_at IS NULL")
            )
            for name, *columns in _LIVE_INDEXES
        ),
    )

    seq: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))

    # The request
    base_id: Mapped[str] = mapped_column(String(128))
    quantization: Mapped[str] = mapped_column(String(8))
    compute_dtype: Mapped[str] = mapped_column(String(8))
    task: Mapped[str] = mapped_column(String(32))
    lane: Mapped[str] = mapped_column(String(16))
    spec: Mapped[dict[str, Any]] = mapped_column(doc="JobSpec")
    method: Mapped[dict[str, Any]] = mapped_column(doc="OpenAI's `method` with resolved hyperparameters")
    suffix: Mapped[str | None] = mapped_column(String(64))
    seed: Mapped[int]
    priority: Mapped[int] = mapped_column(default=0)
    labels: Mapped[dict[str, Any] | None] = mapped_column("metadata", doc="the tenant's metadata pairs")
    training_file_id: Mapped[str] = mapped_column(ForeignKey("file.id"))
    validation_file_id: Mapped[str | None] = mapped_column(ForeignKey("file.id"))
    training_encoding: Mapped[str | None] = mapped_column(
        String(64), doc="key of its encoding, which may be gone once the job is over; NULL: its files are not checked"
    )
    validation_encoding: Mapped[str | None] = mapped_column(String(64))
    memory_bytes: Mapped[int] = mapped_column(BigInt, doc="what its seat reserves on a host")
    pass_tokens: Mapped[int] = mapped_column(doc="of its largest possible micro-batch")
    max_user_retries: Mapped[int] = mapped_column(default=0, doc="retries after the job's own errors")
    max_infra_retries: Mapped[int] = mapped_column(default=10, doc="consecutive retries after infrastructure failures")
    max_host_evictions: Mapped[int] = mapped_column(
        default=100, doc="consecutive retries after evictions by an unreachable host"
    )

    post_sha256: Mapped[str | None] = mapped_column(String(64), doc="of API key and body: detects a retried POST")
    post_retries: Mapped[int] = mapped_column(default=0, doc="the client's retry count for the POST")

    # Progress
    state: Mapped[str] = mapped_column(String(16))
    desired: Mapped[str] = mapped_column(String(8))
    state_since: Mapped[datetime]
    state_deadline: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(default=0)
    lease_token: Mapped[str | None] = mapped_column(String(40))
    not_before: Mapped[datetime | None] = mapped_column(doc="earliest next try, of scheduling or publishing")
    queue_reason: Mapped[str | None] = mapped_column(Text)
    queue_constraint: Mapped[str | None] = mapped_column(String(16), doc="the kind of `queue_reason`: a Constraint")
    kept_host_id: Mapped[str | None] = mapped_column(
        String(40), doc="the host that takes no other job until this one, which waited too long, has its place"
    )
    stop_reason: Mapped[str | None] = mapped_column(String(8), doc="StopReason, while STOPPING")
    user_failures: Mapped[int] = mapped_column(default=0)
    infra_failures: Mapped[int] = mapped_column(default=0, doc="consecutive; a newer checkpoint resets it")
    host_evictions: Mapped[int] = mapped_column(default=0, doc="consecutive; a newer checkpoint resets it")
    reached_step: Mapped[int] = mapped_column(default=0, doc="highest step of any checkpoint; never decreases")
    registering_at: Mapped[datetime | None] = mapped_column(
        doc="when registration first began: from then on the job cannot be cancelled"
    )
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None] = mapped_column(doc="when the first attempt began to train")
    finished_at: Mapped[datetime | None]

    # The result
    step: Mapped[int] = mapped_column(default=0)
    total_steps: Mapped[int | None]
    best_step: Mapped[int | None] = mapped_column(doc="step of the published weights, if early stopping chose it")
    stopped_early: Mapped[bool] = mapped_column(default=False)
    trained_tokens: Mapped[int | None] = mapped_column(BigInt)
    eval_loss_before: Mapped[float | None]
    eval_loss_after: Mapped[float | None]
    adapter: Mapped[dict[str, Any] | None] = mapped_column(doc="AdapterManifest")
    fine_tuned_model: Mapped[str | None] = mapped_column(String(300), unique=True)
    model_deleted_at: Mapped[datetime | None] = mapped_column(doc="when the tenant deleted the tuned model")
    unpublished_at: Mapped[datetime | None] = mapped_column(doc="when a deleted model's cleanup was complete")
    registry_name: Mapped[str | None] = mapped_column(String(128))
    registry_version: Mapped[str | None] = mapped_column(String(16))
    result_file_id: Mapped[str | None] = mapped_column(ForeignKey("file.id"))
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    error_param: Mapped[str | None] = mapped_column(String(64))
    issue_count: Mapped[int] = mapped_column(default=0, doc="problems of its files that its report began with")


class AttemptRow(Base):
    """One try at a job on one host. Holds a seat from creation until `ended_at`."""

    __tablename__ = "attempt"
    __table_args__ = (
        PrimaryKeyConstraint("job_id", "number"),
        CheckConstraint("(ended_at IS NULL) = (exit_class IS NULL)", name="exit_class_iff_ended"),
        Index(
            "uq_attempt_live",
            "job_id",
            unique=True,
            postgresql_where=text("ended_at IS NULL"),
            sqlite_where=text("ended_at IS NULL"),
        ),
        Index("ix_attempt_host_id_ended_at", "host_id", "ended_at"),
        Index("ix_attempt_tenant_id_started_at", "tenant_id", "started_at"),
        Index(
            "ix_attempt_uncollected",
            "ended_at",
            postgresql_where=text("collected_at IS NULL"),
            sqlite_where=text("collected_at IS NULL"),
        ),
    )

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"))
    number: Mapped[int]
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))
    host_id: Mapped[str] = mapped_column(ForeignKey("host.id"))
    lease_token: Mapped[str] = mapped_column(String(40), unique=True)
    lease_until: Mapped[datetime]
    memory_bytes: Mapped[int] = mapped_column(BigInt)
    resumed_from_step: Mapped[int] = mapped_column(default=0)
    last_step: Mapped[int] = mapped_column(default=0)
    rate_from_step: Mapped[int | None] = mapped_column(
        doc="the last of the steps that its first report of steps brought"
    )
    rate_from: Mapped[datetime | None] = mapped_column(doc="when that was: its step rate is measured from then on")
    started_at: Mapped[datetime]
    attached_at: Mapped[datetime | None] = mapped_column(
        doc="when its host accepted it; starts its share of max_runtime_s"
    )
    ended_at: Mapped[datetime | None]
    exit_class: Mapped[str | None] = mapped_column(String(16))
    message: Mapped[str | None] = mapped_column(Text)
    collected_at: Mapped[datetime | None] = mapped_column(doc="when its files in storage were cleaned up")


class CheckpointRow(Base):
    """A checkpoint whose files are complete in storage. Only these rows define "the latest".

    `orchestrator.checkpoints` moves `state`: a row is DELETING before the first byte goes and DELETED after the last.
    """

    __tablename__ = "checkpoint"
    __table_args__ = (
        UniqueConstraint("job_id", "attempt", "step"),
        CheckConstraint("state IN ('committed', 'corrupt', 'deleting', 'deleted')", name="state"),
        Index("ix_checkpoint_job_id_seq", "job_id", "seq"),
        Index(
            "ix_checkpoint_deleting",
            "seq",
            postgresql_where=text("state = 'deleting'"),
            sqlite_where=text("state = 'deleting'"),
        ),
    )

    seq: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"))
    attempt: Mapped[int]
    step: Mapped[int]
    uri: Mapped[str] = mapped_column(Text)
    manifest_sha256: Mapped[str] = mapped_column(String(64))
    metrics: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]
    verified_at: Mapped[datetime | None] = mapped_column(doc="when a seat last resumed from it, every digest checked")


class EventRow(Base):
    """A job's append-only history, which its tenant reads."""

    __tablename__ = "event"
    __table_args__ = (
        Index("ix_event_job_id_seq", "job_id", "seq"),
        Index(
            "uq_event_terminal",
            "job_id",
            unique=True,
            postgresql_where=text(_one_of(TERMINAL, "moved_to")),
            sqlite_where=text(_one_of(TERMINAL, "moved_to")),
        ),
    )

    seq: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"))
    created_at: Mapped[datetime]
    level: Mapped[str] = mapped_column(String(8))
    type: Mapped[str] = mapped_column(String(8))
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any] | None]
    moved_to: Mapped[str | None] = mapped_column(String(16), doc="the state the job entered with this event")


class IdempotencyRow(Base):
    """The job and body of an idempotency key, so that a retried POST creates no second job."""

    __tablename__ = "idempotency"
    __table_args__ = (PrimaryKeyConstraint("tenant_id", "key"), Index("ix_idempotency_created_at", "created_at"))

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))
    key: Mapped[str] = mapped_column(String(255))
    body_sha256: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"))
    created_at: Mapped[datetime]

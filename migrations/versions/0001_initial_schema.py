"""Initial schema: tenants, keys, files, hosts, jobs and their dependent tables."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from orchestrator.db.columns import BigInt, Json, UtcDateTime

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_TABLES = (
    *("checkpoint_permission", "webhook_delivery", "usage", "upload_part", "idempotency", "event", "checkpoint"),
    *("attempt", "upload", "job", "webhook_endpoint", "file", "api_key", "tenant", "lease", "host"),
)
"""Each before those that it references; its indexes go with it."""


def upgrade() -> None:
    _create_host()
    _create_lease()
    _create_tenant()
    _create_api_key()
    _create_file()
    _create_webhook_endpoint()
    _create_job()
    _index_job()
    _create_upload()
    _create_attempt()
    _create_checkpoint()
    _create_event()
    _create_idempotency()
    _create_upload_part()
    _create_usage()
    _create_webhook_delivery()
    _create_checkpoint_permission()


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)


def _create_host() -> None:
    op.create_table(
        "host",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("base_id", sa.String(length=128), nullable=False),
        sa.Column("quantization", sa.String(length=8), nullable=False),
        sa.Column("compute_dtype", sa.String(length=8), nullable=False),
        sa.Column("flavor", sa.String(length=63), nullable=False),
        sa.Column("spec", Json, nullable=False),
        sa.Column("memory_bytes", BigInt, nullable=False),
        sa.Column("activation_bytes", BigInt, nullable=False),
        sa.Column("recomputed_bytes", BigInt, nullable=False),
        sa.Column("vocab_size", sa.Integer(), nullable=False),
        sa.Column("budget_tokens", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("cursor", BigInt, nullable=False),
        sa.Column("base_digest", sa.String(length=64), nullable=True),
        sa.Column("base_folder", sa.Text(), nullable=True),
        sa.Column("base_loads", sa.Integer(), nullable=False),
        sa.Column("load_seconds", sa.Double(), nullable=True),
        sa.Column("resident_bytes", BigInt, nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("ready_at", UtcDateTime(), nullable=True),
        sa.Column("idle_since", UtcDateTime(), nullable=True),
        sa.Column("last_seen_at", UtcDateTime(), nullable=True),
        sa.Column("stop_by", UtcDateTime(), nullable=True),
        sa.Column("base_intact", sa.Boolean(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_host")),
    )

    with op.batch_alter_table("host", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_host_state"), ["state"], unique=False)


def _create_lease() -> None:
    op.create_table(
        "lease",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("holder", sa.String(length=200), nullable=False),
        sa.Column("term", BigInt, nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
    )


def _create_tenant() -> None:
    op.create_table(
        "tenant",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("slug", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("allowed_bases", Json, nullable=True),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("weight BETWEEN 1 AND 1000", name=op.f("ck_tenant_weight_is_bounded")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenant")),
        sa.UniqueConstraint("slug", name=op.f("uq_tenant_slug")),
    )


def _create_api_key() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=True),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("prefix", sa.String(length=32), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("last_used_at", UtcDateTime(), nullable=True),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("(role = 'admin') = (tenant_id IS NULL)", name=op.f("ck_api_key_admin_has_no_tenant")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_api_key_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_key_digest")),
    )

    with op.batch_alter_table("api_key", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_api_key_tenant_id"), ["tenant_id"], unique=False)


def _create_file() -> None:
    op.create_table(
        "file",
        sa.Column("seq", BigInt, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("filename", sa.String(length=255), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("bytes", BigInt, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("status_details", sa.Text(), nullable=True),
        sa.Column("format", sa.String(length=32), nullable=True),
        sa.Column("rows", sa.Integer(), nullable=True),
        sa.Column("issues", Json, nullable=True),
        sa.Column("issue_count", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("deleted_at", UtcDateTime(), nullable=True),
        sa.Column("swept_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_file_tenant_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_file")),
        sa.UniqueConstraint("id", name=op.f("uq_file_id")),
    )

    with op.batch_alter_table("file", schema=None) as batch_op:
        batch_op.create_index("ix_file_tenant_id_seq", ["tenant_id", "seq"], unique=False)
        batch_op.create_index(
            "ix_file_unswept",
            ["deleted_at"],
            unique=False,
            postgresql_where=sa.text("deleted_at IS NOT NULL AND swept_at IS NULL"),
            sqlite_where=sa.text("deleted_at IS NOT NULL AND swept_at IS NULL"),
        )


def _create_webhook_endpoint() -> None:
    op.create_table(
        "webhook_endpoint",
        sa.Column("seq", BigInt, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("event_types", Json, nullable=False),
        sa.Column("secret", sa.Text(), nullable=True),
        sa.Column("secret_hint", sa.String(length=16), nullable=False),
        sa.Column("old_secret", sa.Text(), nullable=True),
        sa.Column("old_secret_until", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.Column("disabled_at", UtcDateTime(), nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("deleted_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint(
            "(deleted_at IS NULL) = (secret IS NOT NULL)", name=op.f("ck_webhook_endpoint_secret_until_deleted")
        ),
        sa.CheckConstraint(
            "(old_secret IS NULL) = (old_secret_until IS NULL)", name=op.f("ck_webhook_endpoint_old_secret_has_an_end")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_webhook_endpoint_tenant_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_webhook_endpoint")),
        sa.UniqueConstraint("id", name=op.f("uq_webhook_endpoint_id")),
    )

    with op.batch_alter_table("webhook_endpoint", schema=None) as batch_op:
        batch_op.create_index("ix_webhook_endpoint_tenant_id_seq", ["tenant_id", "seq"], unique=False)


def _job_columns_asked() -> list[sa.Column[Any]]:
    return [
        sa.Column("seq", BigInt, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("base_id", sa.String(length=128), nullable=False),
        sa.Column("quantization", sa.String(length=8), nullable=False),
        sa.Column("compute_dtype", sa.String(length=8), nullable=False),
        sa.Column("spec", Json, nullable=False),
        sa.Column("method", Json, nullable=False),
        sa.Column("suffix", sa.String(length=64), nullable=True),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("metadata", Json, nullable=True),
        sa.Column("training_file_id", sa.String(length=40), nullable=False),
        sa.Column("validation_file_id", sa.String(length=40), nullable=True),
        sa.Column("memory_bytes", BigInt, nullable=False),
        sa.Column("pass_positions", sa.Integer(), nullable=False),
        sa.Column("max_user_retries", sa.Integer(), nullable=False),
        sa.Column("max_infra_retries", sa.Integer(), nullable=False),
        sa.Column("max_preemptions", sa.Integer(), nullable=False),
        sa.Column("post_sha256", sa.String(length=64), nullable=True),
        sa.Column("post_retries", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("desired", sa.String(length=8), nullable=False),
        sa.Column("state_since", UtcDateTime(), nullable=False),
        sa.Column("state_deadline", UtcDateTime(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lease_token", sa.String(length=40), nullable=True),
    ]


def _job_columns_state() -> list[sa.Column[Any]]:
    return [
        sa.Column("not_before", UtcDateTime(), nullable=True),
        sa.Column("queue_reason", sa.Text(), nullable=True),
        sa.Column("stop_reason", sa.String(length=8), nullable=True),
        sa.Column("user_failures", sa.Integer(), nullable=False),
        sa.Column("infra_failures", sa.Integer(), nullable=False),
        sa.Column("preemptions", sa.Integer(), nullable=False),
        sa.Column("reached_step", sa.Integer(), nullable=False),
        sa.Column("registering_at", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("total_steps", sa.Integer(), nullable=True),
        sa.Column("best_step", sa.Integer(), nullable=True),
        sa.Column("stopped_early", sa.Boolean(), nullable=False),
        sa.Column("trained_tokens", BigInt, nullable=True),
        sa.Column("eval_loss_before", sa.Double(), nullable=True),
        sa.Column("eval_loss_after", sa.Double(), nullable=True),
        sa.Column("adapter", Json, nullable=True),
        sa.Column("fine_tuned_model", sa.String(length=300), nullable=True),
        sa.Column("model_deleted_at", UtcDateTime(), nullable=True),
        sa.Column("retracted_at", UtcDateTime(), nullable=True),
        sa.Column("registry_name", sa.String(length=128), nullable=True),
        sa.Column("registry_version", sa.String(length=16), nullable=True),
        sa.Column("result_file_id", sa.String(length=40), nullable=True),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("error_param", sa.String(length=64), nullable=True),
    ]


def _create_job() -> None:
    op.create_table(
        "job",
        *_job_columns_asked(),
        *_job_columns_state(),
        sa.CheckConstraint("(state = 'failed') = (error_code IS NOT NULL)", name=op.f("ck_job_error_iff_failed")),
        sa.CheckConstraint("(state = 'stopping') = (stop_reason IS NOT NULL)", name=op.f("ck_job_reason_iff_stopping")),
        sa.CheckConstraint(
            "(state IN ('admitted', 'running', 'starting', 'stopping')) = (lease_token IS NOT NULL)",
            name=op.f("ck_job_lease_iff_seated"),
        ),
        sa.CheckConstraint(
            "(state IN ('cancelled', 'failed', 'succeeded')) = (finished_at IS NOT NULL)",
            name=op.f("ck_job_finished_at_iff_terminal"),
        ),
        sa.CheckConstraint("state <> 'backoff' OR not_before IS NOT NULL", name=op.f("ck_job_backoff_ends")),
        sa.CheckConstraint(
            "state <> 'cancelled' OR registering_at IS NULL", name=op.f("ck_job_cancelled_was_not_registered")
        ),
        sa.CheckConstraint(
            "state <> 'succeeded' OR fine_tuned_model IS NOT NULL", name=op.f("ck_job_succeeded_has_model")
        ),
        sa.CheckConstraint(
            "(finished_at IS NULL) = (state_deadline IS NOT NULL)", name=op.f("ck_job_deadline_iff_live")
        ),
        sa.ForeignKeyConstraint(["result_file_id"], ["file.id"], name=op.f("fk_job_result_file_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_job_tenant_id")),
        sa.ForeignKeyConstraint(["training_file_id"], ["file.id"], name=op.f("fk_job_training_file_id")),
        sa.ForeignKeyConstraint(["validation_file_id"], ["file.id"], name=op.f("fk_job_validation_file_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_job")),
        sa.UniqueConstraint("fine_tuned_model", name=op.f("uq_job_fine_tuned_model")),
        sa.UniqueConstraint("id", name=op.f("uq_job_id")),
    )


def _index_job() -> None:
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index(
            "ix_job_live",
            ["state", "base_id", "quantization", "compute_dtype", "priority", "seq"],
            unique=False,
            postgresql_where=sa.text("finished_at IS NULL"),
            sqlite_where=sa.text("finished_at IS NULL"),
        )
        batch_op.create_index(
            "ix_job_live_deadline",
            ["state_deadline"],
            unique=False,
            postgresql_where=sa.text("finished_at IS NULL"),
            sqlite_where=sa.text("finished_at IS NULL"),
        )
        batch_op.create_index(
            "ix_job_live_desired",
            ["desired", "state"],
            unique=False,
            postgresql_where=sa.text("finished_at IS NULL"),
            sqlite_where=sa.text("finished_at IS NULL"),
        )
        batch_op.create_index(
            "ix_job_live_tenant_id",
            ["tenant_id"],
            unique=False,
            postgresql_where=sa.text("finished_at IS NULL"),
            sqlite_where=sa.text("finished_at IS NULL"),
        )
        batch_op.create_index("ix_job_post_sha256", ["post_sha256"], unique=False)
        batch_op.create_index("ix_job_tenant_id_seq", ["tenant_id", "seq"], unique=False)
        batch_op.create_index(
            "ix_job_unretracted",
            ["model_deleted_at"],
            unique=False,
            postgresql_where=sa.text("model_deleted_at IS NOT NULL AND retracted_at IS NULL"),
            sqlite_where=sa.text("model_deleted_at IS NOT NULL AND retracted_at IS NULL"),
        )


def _create_upload() -> None:
    op.create_table(
        "upload",
        sa.Column("seq", BigInt, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("filename", sa.String(length=255), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("mime_type", sa.String(length=255), nullable=False),
        sa.Column("bytes", BigInt, nullable=False),
        sa.Column("file_expires_s", sa.Integer(), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("file_id", sa.String(length=40), nullable=True),
        sa.Column("swept_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("(status = 'completed') = (file_id IS NOT NULL)", name=op.f("ck_upload_file_iff_completed")),
        sa.CheckConstraint("status IN ('pending', 'completed', 'cancelled', 'expired')", name=op.f("ck_upload_status")),
        sa.ForeignKeyConstraint(["file_id"], ["file.id"], name=op.f("fk_upload_file_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_upload_tenant_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_upload")),
        sa.UniqueConstraint("id", name=op.f("uq_upload_id")),
    )

    with op.batch_alter_table("upload", schema=None) as batch_op:
        batch_op.create_index("ix_upload_tenant_id_status", ["tenant_id", "status"], unique=False)
        batch_op.create_index(
            "ix_upload_unswept",
            ["expires_at"],
            unique=False,
            postgresql_where=sa.text("swept_at IS NULL"),
            sqlite_where=sa.text("swept_at IS NULL"),
        )


def _create_attempt() -> None:
    op.create_table(
        "attempt",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("host_id", sa.String(length=40), nullable=False),
        sa.Column("lease_token", sa.String(length=40), nullable=False),
        sa.Column("lease_until", UtcDateTime(), nullable=False),
        sa.Column("memory_bytes", BigInt, nullable=False),
        sa.Column("resumed_from_step", sa.Integer(), nullable=False),
        sa.Column("last_step", sa.Integer(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("attached_at", UtcDateTime(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("exit_class", sa.String(length=16), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("swept_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("(ended_at IS NULL) = (exit_class IS NULL)", name=op.f("ck_attempt_exit_class_iff_ended")),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_attempt_host_id")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_attempt_job_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_attempt_tenant_id")),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_attempt")),
        sa.UniqueConstraint("lease_token", name=op.f("uq_attempt_lease_token")),
    )

    with op.batch_alter_table("attempt", schema=None) as batch_op:
        batch_op.create_index("ix_attempt_host_id_ended_at", ["host_id", "ended_at"], unique=False)
        batch_op.create_index(
            "ix_attempt_unswept",
            ["ended_at"],
            unique=False,
            postgresql_where=sa.text("swept_at IS NULL"),
            sqlite_where=sa.text("swept_at IS NULL"),
        )
        batch_op.create_index(
            "uq_attempt_live",
            ["job_id"],
            unique=True,
            postgresql_where=sa.text("ended_at IS NULL"),
            sqlite_where=sa.text("ended_at IS NULL"),
        )


def _create_checkpoint() -> None:
    op.create_table(
        "checkpoint",
        sa.Column("seq", BigInt, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=False),
        sa.Column("metrics", Json, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("verified_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint(
            "state IN ('committed', 'corrupt', 'deleting', 'deleted')", name=op.f("ck_checkpoint_state")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_checkpoint_job_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_checkpoint_tenant_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_checkpoint")),
        sa.UniqueConstraint("id", name=op.f("uq_checkpoint_id")),
        sa.UniqueConstraint("job_id", "attempt", "step", name=op.f("uq_checkpoint_job_id_attempt_step")),
    )

    with op.batch_alter_table("checkpoint", schema=None) as batch_op:
        batch_op.create_index(
            "ix_checkpoint_deleting",
            ["seq"],
            unique=False,
            postgresql_where=sa.text("state = 'deleting'"),
            sqlite_where=sa.text("state = 'deleting'"),
        )
        batch_op.create_index("ix_checkpoint_job_id_seq", ["job_id", "seq"], unique=False)


def _create_event() -> None:
    op.create_table(
        "event",
        sa.Column("seq", BigInt, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("level", sa.String(length=8), nullable=False),
        sa.Column("type", sa.String(length=8), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("data", Json, nullable=True),
        sa.Column("moved_to", sa.String(length=16), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_event_job_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_event_tenant_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_event")),
        sa.UniqueConstraint("id", name=op.f("uq_event_id")),
    )

    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.create_index("ix_event_job_id_seq", ["job_id", "seq"], unique=False)
        batch_op.create_index(
            "uq_event_terminal",
            ["job_id"],
            unique=True,
            postgresql_where=sa.text("moved_to IN ('cancelled', 'failed', 'succeeded')"),
            sqlite_where=sa.text("moved_to IN ('cancelled', 'failed', 'succeeded')"),
        )


def _create_idempotency() -> None:
    op.create_table(
        "idempotency",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("body_sha256", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_idempotency_job_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_idempotency_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "key", name=op.f("pk_idempotency")),
    )

    with op.batch_alter_table("idempotency", schema=None) as batch_op:
        batch_op.create_index("ix_idempotency_created_at", ["created_at"], unique=False)


def _create_upload_part() -> None:
    op.create_table(
        "upload_part",
        sa.Column("seq", BigInt, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("upload_id", sa.String(length=40), nullable=False),
        sa.Column("bytes", BigInt, nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["upload_id"], ["upload.id"], name=op.f("fk_upload_part_upload_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_upload_part")),
        sa.UniqueConstraint("id", name=op.f("uq_upload_part_id")),
    )

    with op.batch_alter_table("upload_part", schema=None) as batch_op:
        batch_op.create_index("ix_upload_part_upload_id", ["upload_id"], unique=False)


def _create_usage() -> None:
    op.create_table(
        "usage",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("minute", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("base_id", sa.String(length=128), nullable=False),
        sa.Column("flavor", sa.String(length=63), nullable=False),
        sa.Column("step_before", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("metered_until", UtcDateTime(), nullable=False),
        sa.Column("tokens", BigInt, nullable=False),
        sa.Column("supervised_tokens", BigInt, nullable=False),
        sa.Column("seat_seconds", sa.Double(), nullable=False),
        sa.Column("lost_tokens", BigInt, nullable=False),
        sa.Column("lost_supervised_tokens", BigInt, nullable=False),
        sa.Column("lost_seat_seconds", sa.Double(), nullable=False),
        sa.CheckConstraint("lost_seat_seconds BETWEEN 0 AND seat_seconds", name=op.f("ck_usage_lost_seconds_within")),
        sa.CheckConstraint(
            "lost_supervised_tokens BETWEEN 0 AND supervised_tokens", name=op.f("ck_usage_lost_supervised_within")
        ),
        sa.CheckConstraint("lost_tokens BETWEEN 0 AND tokens", name=op.f("ck_usage_lost_tokens_within")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_usage_job_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_usage_tenant_id")),
        sa.PrimaryKeyConstraint("job_id", "attempt", "minute", name=op.f("pk_usage")),
    )

    with op.batch_alter_table("usage", schema=None) as batch_op:
        batch_op.create_index("ix_usage_minute", ["minute"], unique=False)
        batch_op.create_index("ix_usage_tenant_id_minute", ["tenant_id", "minute"], unique=False)


def _create_webhook_delivery() -> None:
    op.create_table(
        "webhook_delivery",
        sa.Column("seq", BigInt, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("endpoint_id", sa.String(length=40), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("event_id", sa.String(length=40), nullable=False),
        sa.Column("event_type", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("next_try_at", UtcDateTime(), nullable=True),
        sa.Column("last_try_at", UtcDateTime(), nullable=True),
        sa.Column("last_status_code", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("delivered_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint(
            "(state = 'delivered') = (delivered_at IS NOT NULL)",
            name=op.f("ck_webhook_delivery_delivered_at_iff_delivered"),
        ),
        sa.CheckConstraint(
            "(state = 'pending') = (next_try_at IS NOT NULL)", name=op.f("ck_webhook_delivery_next_try_iff_pending")
        ),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'failed')", name=op.f("ck_webhook_delivery_state")),
        sa.ForeignKeyConstraint(["endpoint_id"], ["webhook_endpoint.id"], name=op.f("fk_webhook_delivery_endpoint_id")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_webhook_delivery_job_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_webhook_delivery_tenant_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_webhook_delivery")),
        sa.UniqueConstraint("endpoint_id", "job_id", name=op.f("uq_webhook_delivery_endpoint_id_job_id")),
        sa.UniqueConstraint("id", name=op.f("uq_webhook_delivery_id")),
    )

    with op.batch_alter_table("webhook_delivery", schema=None) as batch_op:
        batch_op.create_index(
            "ix_webhook_delivery_due",
            ["next_try_at"],
            unique=False,
            postgresql_where=sa.text("state = 'pending'"),
            sqlite_where=sa.text("state = 'pending'"),
        )
        batch_op.create_index("ix_webhook_delivery_endpoint_id_seq", ["endpoint_id", "seq"], unique=False)


def _create_checkpoint_permission() -> None:
    op.create_table(
        "checkpoint_permission",
        sa.Column("seq", BigInt, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("checkpoint_id", sa.String(length=40), nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"],
            ["checkpoint.id"],
            name=op.f("fk_checkpoint_permission_checkpoint_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["project_id"], ["tenant.id"], name=op.f("fk_checkpoint_permission_project_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_checkpoint_permission_tenant_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_checkpoint_permission")),
        sa.UniqueConstraint(
            "checkpoint_id", "project_id", name=op.f("uq_checkpoint_permission_checkpoint_id_project_id")
        ),
        sa.UniqueConstraint("id", name=op.f("uq_checkpoint_permission_id")),
    )

    with op.batch_alter_table("checkpoint_permission", schema=None) as batch_op:
        batch_op.create_index("ix_checkpoint_permission_project_id", ["project_id"], unique=False)

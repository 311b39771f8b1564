"""Adds a task and a lane to jobs and hosts, and a number of devices to hosts. Renames columns.

Revision: 0003, after 0002. Existing rows become causal language modeling in the fused lane, on one device.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from orchestrator.db.columns import Json, UtcDateTime

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_RENAMED = (
    ("job", "preemptions", "host_evictions"),
    ("job", "max_preemptions", "max_host_evictions"),
    ("job", "pass_positions", "pass_tokens"),
    ("job", "retracted_at", "unpublished_at"),
    ("file", "swept_at", "collected_at"),
    ("upload", "swept_at", "collected_at"),
    ("attempt", "swept_at", "collected_at"),
)
_QUEUE = ("state", "base_id", "quantization", "compute_dtype")


def upgrade() -> None:
    for table in ("job", "host"):
        op.add_column(table, sa.Column("task", sa.String(32), nullable=False, server_default="causal_lm"))
        op.add_column(table, sa.Column("lane", sa.String(16), nullable=False, server_default="fused"))
    op.add_column("host", sa.Column("devices", sa.Integer(), nullable=False, server_default="1"))
    for table, old, new in _RENAMED:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    _replace("job", "ix_job_live", "ix_job_line", [*_QUEUE, "task", "lane", "priority", "seq"], "finished_at IS NULL")
    unpublished = "model_deleted_at IS NOT NULL AND unpublished_at IS NULL"
    _replace("job", "ix_job_unretracted", "ix_job_unpublished", ["model_deleted_at"], unpublished)
    deleted = "deleted_at IS NOT NULL AND collected_at IS NULL"
    _replace("file", "ix_file_unswept", "ix_file_uncollected", ["deleted_at"], deleted)
    _replace("upload", "ix_upload_unswept", "ix_upload_uncollected", ["expires_at"], "collected_at IS NULL")
    _replace("attempt", "ix_attempt_unswept", "ix_attempt_uncollected", ["ended_at"], "collected_at IS NULL")
    _rewrite_host_specs()


def _replace(table: str, old: str, new: str, columns: list[str], where: str) -> None:
    """Drop the index `old` and create `new` over `columns` of the rows `where`."""
    op.drop_index(old, table)
    op.create_index(new, table, columns, postgresql_where=sa.text(where), sqlite_where=sa.text(where))


def _rewrite_host_specs() -> None:
    """A host that was asked for and not started yet is started from its row: its spec has today's names."""
    host = sa.table("host", sa.column("id", sa.String), sa.column("spec", Json), sa.column("ended_at", UtcDateTime()))
    connection = op.get_bind()
    for host_id, spec in connection.execute(sa.select(host.c.id, host.c.spec).where(host.c.ended_at.is_(None))).all():
        lane = "solo" if spec.pop("stepper", "fused") == "turns" else "fused"
        renamed = {"orchestrator_timeout_s": spec.pop("trust_s")} if "trust_s" in spec else {}
        connection.execute(host.update().where(host.c.id == host_id).values(spec=spec | renamed | {"lane": lane}))


def downgrade() -> None:
    for table, old, new in _RENAMED:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {new} TO {old}")
    _replace("attempt", "ix_attempt_uncollected", "ix_attempt_unswept", ["ended_at"], "swept_at IS NULL")
    _replace("upload", "ix_upload_uncollected", "ix_upload_unswept", ["expires_at"], "swept_at IS NULL")
    deleted = "deleted_at IS NOT NULL AND swept_at IS NULL"
    _replace("file", "ix_file_uncollected", "ix_file_unswept", ["deleted_at"], deleted)
    unpublished = "model_deleted_at IS NOT NULL AND retracted_at IS NULL"
    _replace("job", "ix_job_unpublished", "ix_job_unretracted", ["model_deleted_at"], unpublished)
    _replace("job", "ix_job_line", "ix_job_live", [*_QUEUE, "priority", "seq"], "finished_at IS NULL")
    op.drop_column("host", "devices")
    for table in ("job", "host"):
        op.drop_column(table, "lane")
        op.drop_column(table, "task")

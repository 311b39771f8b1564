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

_LIVE = sa.text("finished_at IS NULL")
_RENAMED = {
    "preemptions": "host_evictions",
    "max_preemptions": "max_host_evictions",
    "retracted_at": "unpublished_at",
}
_KEY = ["state", "base_id", "quantization", "compute_dtype"]


def upgrade() -> None:
    for table in ("job", "host"):
        op.add_column(table, sa.Column("task", sa.String(32), nullable=False, server_default="causal_lm"))
        op.add_column(table, sa.Column("lane", sa.String(16), nullable=False, server_default="fused"))
    op.add_column("host", sa.Column("devices", sa.Integer(), nullable=False, server_default="1"))
    columns = [*_KEY, "task", "lane", "priority", "seq"]
    op.create_index("ix_job_line", "job", columns, postgresql_where=_LIVE, sqlite_where=_LIVE)
    op.drop_index("ix_job_live", "job")
    for old, new in _RENAMED.items():
        op.execute(f"ALTER TABLE job RENAME COLUMN {old} TO {new}")
    _rewrite_host_specs()
    op.drop_index("ix_job_unretracted", "job")
    where = sa.text("model_deleted_at IS NOT NULL AND unpublished_at IS NULL")
    op.create_index("ix_job_unpublished", "job", ["model_deleted_at"], postgresql_where=where, sqlite_where=where)


def _rewrite_host_specs() -> None:
    """A host that was asked for and not started yet is started from its row: its spec has today's names."""
    host = sa.table("host", sa.column("id", sa.String), sa.column("spec", Json), sa.column("ended_at", UtcDateTime()))
    connection = op.get_bind()
    for host_id, spec in connection.execute(sa.select(host.c.id, host.c.spec).where(host.c.ended_at.is_(None))).all():
        lane = "solo" if spec.pop("stepper", "fused") == "turns" else "fused"
        renamed = {"orchestrator_timeout_s": spec.pop("trust_s")} if "trust_s" in spec else {}
        connection.execute(host.update().where(host.c.id == host_id).values(spec=spec | renamed | {"lane": lane}))


def downgrade() -> None:
    op.drop_index("ix_job_unpublished", "job")
    for old, new in _RENAMED.items():
        op.execute(f"ALTER TABLE job RENAME COLUMN {new} TO {old}")
    where = sa.text("model_deleted_at IS NOT NULL AND retracted_at IS NULL")
    op.create_index("ix_job_unretracted", "job", ["model_deleted_at"], postgresql_where=where, sqlite_where=where)
    columns = [*_KEY, "priority", "seq"]
    op.create_index("ix_job_live", "job", columns, postgresql_where=_LIVE, sqlite_where=_LIVE)
    op.drop_index("ix_job_line", "job")
    op.drop_column("host", "devices")
    for table in ("job", "host"):
        op.drop_column(table, "lane")
        op.drop_column(table, "task")

"""Tenants take turns for seats, a device is kept free for who waits too long, and attempts measure their step rate.

Revision: 0007, after 0006. An attempt that trains already measures its step rate from its next step on.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from orchestrator.db.columns import UtcDateTime

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_KEY = ("state", "base_id", "quantization", "compute_dtype", "task", "lane")
_LIVE = sa.text("finished_at IS NULL")
_KEPT = sa.text("kept_host_id IS NOT NULL")


def upgrade() -> None:
    op.add_column("attempt", sa.Column("rate_from_step", sa.Integer(), nullable=True))
    op.add_column("attempt", sa.Column("rate_from", UtcDateTime(), nullable=True))
    op.add_column("job", sa.Column("queue_constraint", sa.String(16), nullable=True))
    op.add_column("job", sa.Column("kept_host_id", sa.String(40), nullable=True))
    op.create_index(
        "ix_job_turn", "job", [*_KEY, "tenant_id", "priority", "seq"], postgresql_where=_LIVE, sqlite_where=_LIVE
    )
    op.drop_index("ix_job_line", "job")
    op.create_index("ix_job_kept_host_id", "job", ["kept_host_id"], postgresql_where=_KEPT, sqlite_where=_KEPT)
    op.create_index("ix_attempt_tenant_id_started_at", "attempt", ["tenant_id", "started_at"])


def downgrade() -> None:
    op.drop_index("ix_attempt_tenant_id_started_at", "attempt")
    op.drop_index("ix_job_kept_host_id", "job")
    op.create_index("ix_job_line", "job", [*_KEY, "priority", "seq"], postgresql_where=_LIVE, sqlite_where=_LIVE)
    op.drop_index("ix_job_turn", "job")
    op.drop_column("job", "kept_host_id")
    op.drop_column("job", "queue_constraint")
    op.drop_column("attempt", "rate_from")
    op.drop_column("attempt", "rate_from_step")

"""Adds the suspension of tenants.

Revision: 0008, after 0007. Tenants from before are not suspended.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from orchestrator.db.columns import UtcDateTime

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("tenant", sa.Column("suspended_at", UtcDateTime(), nullable=True))
    op.add_column("tenant", sa.Column("suspension_reason", sa.String(200), nullable=True))


def downgrade() -> None:
    """Jobs of suspended tenants become paused ones, which an earlier version knows.

    Seats that a planned stop is saving leave as for a pause; their jobs still go on, since nobody desires a pause.
    """
    op.execute("UPDATE job SET desired = 'pause' WHERE desired = 'suspend'")
    op.execute("UPDATE job SET stop_reason = 'pause' WHERE stop_reason IN ('suspend', 'shutdown')")
    op.drop_column("tenant", "suspension_reason")
    op.drop_column("tenant", "suspended_at")

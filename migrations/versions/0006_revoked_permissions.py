"""Keeps revoked permissions of checkpoints as rows, so that a list can be continued after one.

Revision: 0006, after 0005. Taking it back deletes the revoked ones.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from orchestrator.db.columns import UtcDateTime

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("checkpoint_permission", sa.Column("revoked_at", UtcDateTime(), nullable=True))


def downgrade() -> None:
    op.execute("DELETE FROM checkpoint_permission WHERE revoked_at IS NOT NULL")
    op.drop_column("checkpoint_permission", "revoked_at")

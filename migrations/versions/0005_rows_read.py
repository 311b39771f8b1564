"""How many rows the host of an attempt has read, so that a job in STARTING can say what it waits for.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.add_column("attempt", sa.Column("rows_read", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("attempt", "rows_read")

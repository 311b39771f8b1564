"""Marks bases that cannot be used, and keeps the code of a host's end.

Revision: 0004, after 0003. Existing hosts have no code; nothing is marked.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from orchestrator.db.columns import UtcDateTime

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_KEY = ("base_id", "quantization", "compute_dtype", "task", "lane")


def upgrade() -> None:
    op.add_column("host", sa.Column("error_code", sa.String(64), nullable=True))
    op.create_table(
        "unusable_base",
        sa.Column("base_id", sa.String(128), nullable=False),
        sa.Column("quantization", sa.String(8), nullable=False),
        sa.Column("compute_dtype", sa.String(8), nullable=False),
        sa.Column("task", sa.String(32), nullable=False),
        sa.Column("lane", sa.String(16), nullable=False),
        sa.Column("entry_sha256", sa.String(64), nullable=False),
        sa.Column("files_sha256", sa.String(64), nullable=True),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("host_id", sa.String(40), nullable=False),
        sa.Column("host_created_at", UtcDateTime(), nullable=False),
        sa.Column("marked_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_unusable_base_host_id")),
        sa.PrimaryKeyConstraint(*_KEY, name=op.f("pk_unusable_base")),
    )


def downgrade() -> None:
    op.drop_table("unusable_base")
    op.drop_column("host", "error_code")

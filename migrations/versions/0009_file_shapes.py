"""What a file was recognised as: shape, container, notes; and the format that an upload in parts was announced with.

Revision: 0009, after 0008. Files from before are JSONL with rows as their format has them.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from orchestrator.db.columns import Json

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("file", sa.Column("shape", sa.String(32), nullable=True))
    op.add_column("file", sa.Column("container", sa.String(16), server_default="jsonl", nullable=False))
    op.add_column("file", sa.Column("notes", Json, nullable=True))
    op.add_column("upload", sa.Column("format", sa.String(32), nullable=True))


def downgrade() -> None:
    """An earlier version cannot read files in other forms: they become bad ones, which no job may take."""
    op.execute(
        "UPDATE file SET status = 'error', status_details = 'An earlier version of the service does not read this form. "
        "Convert the file to JSONL.' WHERE status = 'processed' AND (container <> 'jsonl' OR notes IS NOT NULL)"
    )
    op.drop_column("upload", "format")
    op.drop_column("file", "notes")
    op.drop_column("file", "container")
    op.drop_column("file", "shape")

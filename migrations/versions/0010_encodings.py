"""Adds encodings, files as rows of tokens, which jobs have before they are queued; and previews, which show them.

Revision: 0010, after 0009. Jobs that wait already are encoded when they get their turn.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from orchestrator.db.columns import Json, UtcDateTime

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_AT_ONCE = 500  # jobs
_JOB = sa.table("job", sa.column("seq"), sa.column("spec", Json))


def upgrade() -> None:
    op.create_table(
        "encoding",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("file_id", sa.String(40), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("encoder", sa.Integer(), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("claimed_at", UtcDateTime(), nullable=True),
        sa.Column("not_before", UtcDateTime(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("rows_read", sa.Integer(), nullable=False),
        sa.Column("encoded", Json, nullable=True),
        sa.Column("error_code", sa.String(64), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("issues", Json, nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("state IN ('waiting', 'running', 'done', 'failed', 'deleting')", name="ck_encoding_state"),
        sa.CheckConstraint("(state = 'running') = (encoder IS NOT NULL)", name="ck_encoding_encoder_iff_running"),
        sa.CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name="ck_encoding_lease_iff_running"),
        sa.CheckConstraint("(state = 'done') = (encoded IS NOT NULL)", name="ck_encoding_encoded_iff_done"),
        sa.CheckConstraint("(state = 'failed') = (error_code IS NOT NULL)", name="ck_encoding_error_iff_failed"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_encoding_tenant_id"),
        sa.PrimaryKeyConstraint("key", name="pk_encoding"),
    )
    op.create_index("ix_encoding_state_tenant_id", "encoding", ["state", "tenant_id"])
    op.create_index("ix_encoding_tenant_id_claimed_at", "encoding", ["tenant_id", "claimed_at"])
    op.create_index("ix_encoding_used_at", "encoding", ["used_at"])
    op.create_index("ix_encoding_file_id", "encoding", ["file_id"])
    op.create_table(
        "preview",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("spec", Json, nullable=False),
        sa.Column("training_encoding", sa.String(64), nullable=False),
        sa.Column("validation_encoding", sa.String(64), nullable=True),
        sa.Column("until", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_preview_tenant_id"),
        sa.PrimaryKeyConstraint("key", name="pk_preview"),
    )
    op.create_index("ix_preview_tenant_id", "preview", ["tenant_id"])
    op.create_index("ix_preview_until", "preview", ["until"])
    op.add_column("job", sa.Column("training_encoding", sa.String(64), nullable=True))
    op.add_column("job", sa.Column("validation_encoding", sa.String(64), nullable=True))
    op.drop_column("attempt", "rows_read")


def downgrade() -> None:
    """Jobs keep their state; an earlier version encodes their files on the host, and reads no job, over or not, that
    names encoded rows.
    """
    connection = op.get_bind()
    for job in _jobs():
        files = {role: job.spec["data"][role] for role in ("training", "validation") if job.spec["data"].get(role)}
        plain = {role: {name: file[name] for name in file if name != "encoded"} for role, file in files.items()}
        changed = job.spec | {"data": job.spec["data"] | plain}
        connection.execute(sa.update(_JOB).where(_JOB.c.seq == job.seq).values(spec=changed))
    op.add_column("attempt", sa.Column("rows_read", sa.Integer(), nullable=True))
    op.drop_column("job", "validation_encoding")
    op.drop_column("job", "training_encoding")
    op.drop_table("preview")
    op.drop_table("encoding")


def _jobs() -> Iterator[Any]:
    connection, seq = op.get_bind(), 0
    some = sa.select(_JOB).order_by(_JOB.c.seq).limit(_AT_ONCE)
    while jobs := connection.execute(some.where(_JOB.c.seq > seq)).all():
        yield from jobs
        seq = jobs[-1].seq

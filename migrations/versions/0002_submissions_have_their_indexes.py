"""Adds indexes for the queries of a submission: the retry of a POST, and a tenant's live jobs.

Revision: 0002, after 0001.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_LIVE = sa.text("finished_at IS NULL")


def upgrade() -> None:  # new indexes first, so that readers of jobs wait only while old indexes are dropped
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index(
            "ix_job_tenant_id_post_sha256_created_at", ["tenant_id", "post_sha256", "created_at"], unique=False
        )
        batch_op.create_index(
            "ix_job_live_tenant", ["tenant_id", "finished_at"], unique=False, postgresql_where=_LIVE, sqlite_where=_LIVE
        )
        batch_op.drop_index("ix_job_post_sha256")
        batch_op.drop_index("ix_job_live_tenant_id")


def downgrade() -> None:
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index(
            "ix_job_live_tenant_id", ["tenant_id"], unique=False, postgresql_where=_LIVE, sqlite_where=_LIVE
        )
        batch_op.create_index("ix_job_post_sha256", ["post_sha256"], unique=False)
        batch_op.drop_index("ix_job_live_tenant")
        batch_op.drop_index("ix_job_tenant_id_post_sha256_created_at")

"""A repeated POST is found by one index: tenant, body and time of its first try.

Revision: 0002, after 0001.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index(
            "ix_job_tenant_id_post_sha256_created_at", ["tenant_id", "post_sha256", "created_at"], unique=False
        )
        batch_op.drop_index("ix_job_post_sha256")


def downgrade() -> None:
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index("ix_job_post_sha256", ["post_sha256"], unique=False)
        batch_op.drop_index("ix_job_tenant_id_post_sha256_created_at")

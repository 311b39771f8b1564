"""Moves the issues of files into reports of their own, which jobs have too.

Revision: 0011, after 0010. Reports of files keep what was stored; jobs from before have none. Taking it back keeps the
first thousand issues of each file.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from orchestrator.db.columns import Json

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_PART = 200
_AT_ONCE = 50  # files
_KEPT = 1_000  # issues of a file that an earlier version stores

_FILE = sa.table(
    "file", *(sa.column(name) for name in ("seq", "id", "tenant_id", "deleted_at")), sa.column("issues", Json)
)
_PARTS = sa.table(
    "issue_part",
    *(sa.column(name) for name in ("owner_id", "last", "tenant_id", "file_id", "role", "count")),
    *(sa.column(name, Json) for name in ("codes", "issues")),
)


def upgrade() -> None:
    op.create_table(
        "issue_part",
        sa.Column("owner_id", sa.String(40), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("file_id", sa.String(40), nullable=False),
        sa.Column("role", sa.String(16), nullable=True),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("codes", Json, nullable=False),
        sa.Column("issues", Json, nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "last", name="pk_issue_part"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_issue_part_tenant_id"),
        sa.ForeignKeyConstraint(["file_id"], ["file.id"], name="fk_issue_part_file_id"),
    )
    op.create_index("ix_issue_part_file_id", "issue_part", ["file_id"])
    for file in _with_issues():
        op.bulk_insert(_PARTS, list(_parts(file)))
    op.drop_column("file", "issues")
    op.add_column("job", sa.Column("issue_count", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("job", "issue_count")
    op.add_column("file", sa.Column("issues", Json, nullable=True))
    connection = op.get_bind()
    own = (_PARTS.c.owner_id == _PARTS.c.file_id, _PARTS.c.last <= _KEPT)
    for owner_id in connection.scalars(sa.select(_PARTS.c.owner_id).where(*own).distinct()).all():
        mine = sa.select(_PARTS.c.issues).where(*own, _PARTS.c.owner_id == owner_id).order_by(_PARTS.c.last)
        issues = [issue for part in connection.scalars(mine) for issue in part]
        connection.execute(sa.update(_FILE).where(_FILE.c.id == owner_id).values(issues=issues))
    op.drop_table("issue_part")


def _with_issues() -> Iterator[Any]:
    """Files that are not deleted and have issues."""
    connection, seq = op.get_bind(), 0
    some = sa.select(_FILE).where(_FILE.c.issues.is_not(None), _FILE.c.deleted_at.is_(None)).order_by(_FILE.c.seq)
    while files := connection.execute(some.where(_FILE.c.seq > seq).limit(_AT_ONCE)).all():
        yield from files
        seq = files[-1].seq


def _parts(file: Any) -> Iterator[dict[str, Any]]:
    for begin in range(0, len(file.issues), _PART):
        issues = file.issues[begin : begin + _PART]
        yield {
            "owner_id": file.id,
            "last": begin + len(issues),
            "tenant_id": file.tenant_id,
            "file_id": file.id,
            "role": None,
            "count": len(issues),
            "codes": dict(Counter(issue["code"] for issue in issues)),
            "issues": issues,
        }

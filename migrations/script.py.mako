"""${message}

Revision: ${up_revision}, after ${down_revision | comma,n}.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

import orchestrator.db.columns
${imports if imports else ""}

revision: str = ${repr(up_revision)}
down_revision: str | None = ${repr(down_revision)}
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}

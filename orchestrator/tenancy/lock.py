"""A lock for decisions that span several rows of a tenant."""

from typing import Final

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from orchestrator.db.tables import TenantRow

_HOLD: Final = select(TenantRow.id).where(TenantRow.id == bindparam("tenant_id")).with_for_update(key_share=True)


def lock_tenant(session: Session, tenant_id: str) -> None:
    """Lock the tenant until the caller's transaction ends.

    PostgreSQL locks the row, but not its key: others may write rows that name the tenant, such as events. They hold
    rows that the caller needs next, and each would wait for the other. SQLite ignores FOR UPDATE and does not need it:
    its write transactions begin IMMEDIATE.
    """
    if session.get_bind().dialect.name != "sqlite":
        session.execute(_HOLD, {"tenant_id": tenant_id})

"""One writer at a time for decisions that span several rows of a tenant."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from orchestrator.db.tables import TenantRow


def hold_tenant(session: Session, tenant_id: str) -> None:
    """Wait until no other write transaction holds the tenant; held until the caller's transaction ends.

    PostgreSQL locks the row. SQLite drops FOR UPDATE, and needs none: `Database.write` has begun IMMEDIATE.
    """
    session.execute(select(TenantRow.id).where(TenantRow.id == tenant_id).with_for_update())

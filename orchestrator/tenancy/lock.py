"""A lock for decisions that span several rows of a tenant."""

from typing import Final

from sqlalchemy import Connection, bindparam, select

from orchestrator.db.tables import TenantRow

_HOLD: Final = select(TenantRow.id).where(TenantRow.id == bindparam("tenant_id")).with_for_update()


def lock_tenant(connection: Connection, tenant_id: str) -> None:
    """Lock the tenant until the caller's transaction ends.

    PostgreSQL locks the row. SQLite ignores FOR UPDATE and does not need it: its write transactions begin IMMEDIATE.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(_HOLD, {"tenant_id": tenant_id})

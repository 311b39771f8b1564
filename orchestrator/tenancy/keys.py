"""Creates, lists and revokes API keys."""

import hashlib
import secrets
from datetime import datetime

from sqlalchemy import select, update

from orchestrator.db.database import Database
from orchestrator.db.tables import ApiKeyRow
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.ids import new_id
from orchestrator.tenancy.tenants import get_tenant
from orchestrator.tenancy.views import KeyView, Role

KEY_PREFIX = "sk-orchard-"
SECRET_BYTES = 32
SHOWN_CHARS = len(KEY_PREFIX) + 4
LAST_ADMIN_KEY = (
    "This is the last admin key that works, and without one nobody can administer tenants. Make another first, on a "
    "machine that reaches the database: orchard keys create-admin"
)


def digest_of(secret: str) -> str:
    """The stored digest of a key: the hex SHA-256 of the whole string."""
    return hashlib.sha256(secret.encode()).hexdigest()


def create_admin_key(db: Database, name: str, now: datetime) -> tuple[KeyView, str]:
    """Create a key that administers tenants. Returns its view and the secret, which is not stored."""
    return _create(db, None, Role.ADMIN, name, now)


def create_tenant_key(db: Database, tenant: str, name: str, now: datetime) -> tuple[KeyView, str]:
    """Create a key of the tenant (id or slug). Raises: NotFound."""
    return _create(db, get_tenant(db, tenant).id, Role.TENANT, name, now)


def list_keys(db: Database, tenant: str) -> list[KeyView]:
    """Every key of the tenant, newest first, revoked ones too. Raises: NotFound."""
    tenant_id = get_tenant(db, tenant).id
    query = select(ApiKeyRow).where(ApiKeyRow.tenant_id == tenant_id)
    with db.read() as session:
        rows = session.scalars(query.order_by(ApiKeyRow.created_at.desc(), ApiKeyRow.id)).all()
    return [KeyView.of(row) for row in rows]


def revoke_key(db: Database, tenant: str, key_id: str, now: datetime) -> KeyView:
    """Revoke the key. Idempotent. Raises: NotFound."""
    tenant_id = get_tenant(db, tenant).id
    mine = (ApiKeyRow.id == key_id, ApiKeyRow.tenant_id == tenant_id)
    with db.write() as session:
        session.execute(update(ApiKeyRow).where(*mine, ApiKeyRow.revoked_at.is_(None)).values(revoked_at=now))
        row = session.scalar(select(ApiKeyRow).where(*mine))
    if row is None:
        raise NotFound(f"No such API key: {key_id}", param="key_id")
    return KeyView.of(row)


def list_admin_keys(db: Database) -> list[KeyView]:
    """Every admin key, newest first, revoked ones too."""
    query = select(ApiKeyRow).where(ApiKeyRow.role == Role.ADMIN)
    with db.read() as session:
        rows = session.scalars(query.order_by(ApiKeyRow.created_at.desc(), ApiKeyRow.id)).all()
    return [KeyView.of(row) for row in rows]


def revoke_admin_key(db: Database, key_id: str, now: datetime) -> KeyView:
    """Revoke an admin key. Idempotent. Raises: NotFound; InvalidRequest for the last one that works."""
    admins = select(ApiKeyRow).where(ApiKeyRow.role == Role.ADMIN)
    with db.write() as session:  # all are locked, so that no two revocations leave none
        rows = {row.id: row for row in session.scalars(admins.order_by(ApiKeyRow.id).with_for_update())}
        row = rows.get(key_id)
        if row is None:
            raise NotFound(f"No such admin key: {key_id}", param="key_id")
        if row.revoked_at is None:
            if sum(each.revoked_at is None for each in rows.values()) == 1:
                raise InvalidRequest(LAST_ADMIN_KEY, param="key_id", code="last_admin_key")
            row.revoked_at = now
    return KeyView.of(row)


def _create(db: Database, tenant_id: str | None, role: Role, name: str, now: datetime) -> tuple[KeyView, str]:
    secret = KEY_PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    row = ApiKeyRow(
        id=new_id("key-"),
        tenant_id=tenant_id,
        role=role,
        name=name,
        prefix=secret[:SHOWN_CHARS],
        digest=digest_of(secret),
        created_at=now,
        last_used_at=None,
        revoked_at=None,
    )
    with db.write() as session:
        session.add(row)
    return KeyView.of(row), secret

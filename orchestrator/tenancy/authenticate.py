"""Authenticates the secret of a request to a principal."""

import secrets
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import bindparam, select, update

from orchestrator.db.database import Database
from orchestrator.db.tables import ApiKeyRow, TenantRow
from orchestrator.errors import Unauthenticated
from orchestrator.tenancy.keys import KEY_PREFIX, digest_of
from orchestrator.tenancy.views import Principal, Role, Tenant

_BY_DIGEST: Final = (  # columns, since every request runs it: mapped rows would cost 50 % more
    select(
        *(ApiKeyRow.id.label("key_id"), ApiKeyRow.digest, ApiKeyRow.prefix, ApiKeyRow.role),
        *(ApiKeyRow.revoked_at, ApiKeyRow.last_used_at),
        *(TenantRow.id, TenantRow.slug, TenantRow.name, TenantRow.allowed_bases, TenantRow.weight),
        *(TenantRow.suspended_at, TenantRow.suspension_reason),
    )
    .outerjoin(TenantRow, TenantRow.id == ApiKeyRow.tenant_id)
    .where(ApiKeyRow.digest == bindparam("digest"))
)
TOUCH_EVERY_S = 60  # resolution of `last_used_at`, to avoid a write for every read request


def authenticate(db: Database, secret: str | None, organization: str | None, now: datetime) -> Principal:
    """Return the principal of `secret`.

    `organization` is the tenant (id or slug) that the client claims, if any.
    Raises: Unauthenticated for a missing, wrong or revoked key, or a key of another tenant than claimed.
    """
    if not secret:
        raise Unauthenticated(
            "You didn't provide an API key. Send it in an Authorization header using Bearer auth "
            "(i.e. Authorization: Bearer YOUR_KEY)."
        )
    digest = digest_of(secret)
    with db.read() as session:
        found = session.execute(_BY_DIGEST, {"digest": digest}).one_or_none()
    if found is None or not secrets.compare_digest(found.digest, digest):
        raise Unauthenticated(f"Incorrect API key provided: {masked(secret)}. Ask your administrator for a key.")
    if found.revoked_at is not None:
        raise Unauthenticated(f"The API key {masked(secret)} was revoked. Ask your administrator for a new one.")
    tenant = None if found.id is None else Tenant.of(found)
    if organization and tenant is not None and organization not in {tenant.id, tenant.slug}:
        raise Unauthenticated(
            "OpenAI-Organization header should match organization for API key.", code="mismatched_organization"
        )
    _touch(db, found.key_id, found.last_used_at, now)
    return Principal(found.key_id, found.prefix, Role(found.role), tenant)


def masked(secret: str) -> str:
    """A key as shown in errors: enough to recognize it, too little to use it."""
    if len(secret) < 24:
        return "***"
    start = KEY_PREFIX if secret.startswith(KEY_PREFIX) else secret[:3]
    return f"{start}***{secret[-4:]}"


def _touch(db: Database, key_id: str, last_used_at: datetime | None, now: datetime) -> None:
    if last_used_at is not None and now - last_used_at < timedelta(seconds=TOUCH_EVERY_S):
        return
    with db.write() as session:
        session.execute(update(ApiKeyRow).where(ApiKeyRow.id == key_id).values(last_used_at=now))

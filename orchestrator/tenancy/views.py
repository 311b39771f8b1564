"""Public values of this package: tenants, keys and principals, without secrets."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, Field
from sqlalchemy import Row

from orchestrator.db.tables import ApiKeyRow, TenantRow
from orchestrator.errors import TenantSuspended


class Role(StrEnum):
    """What a key grants access to."""

    TENANT = "tenant"
    """Files, jobs and models of one tenant."""
    ADMIN = "admin"
    """Tenants, keys and hosts."""


@dataclass(frozen=True)
class Tenant:
    """The tenant of a request."""

    id: str
    slug: str
    name: str
    allowed_bases: tuple[str, ...] | None
    weight: int = 1
    suspended_at: datetime | None = None
    suspension_reason: str | None = None

    @classmethod
    def of(cls, row: TenantRow | Row[Any]) -> "Tenant":
        """The tenant of a row, or of its columns."""
        bases = None if row.allowed_bases is None else tuple(row.allowed_bases)
        return cls(row.id, row.slug, row.name, bases, row.weight, row.suspended_at, row.suspension_reason)

    def require_active(self) -> None:
        """Raises: TenantSuspended."""
        if self.suspended_at is not None:
            reason = "" if self.suspension_reason is None else f" Reason: {self.suspension_reason}"
            raise TenantSuspended(f"{TenantSuspended.__doc__}{reason}")

    def may_use(self, base_id: str) -> bool:
        """Whether this tenant may use the base."""
        return self.allowed_bases is None or base_id in self.allowed_bases


@dataclass(frozen=True)
class Principal:
    """An authenticated key. `tenant` is None for an admin key."""

    key_id: str
    key_prefix: str
    role: Role
    tenant: Tenant | None


class TenantView(BaseModel):
    """A tenant, as admins see it."""

    id: str
    object: Literal["tenant"] = "tenant"
    slug: str
    name: str
    allowed_bases: list[str] | None = Field(description="null: every base of the catalogue")
    weight: int = Field(description="share of a host's tokens relative to other tenants")
    created_at: int = Field(description="Unix seconds")
    suspended_at: int | None = Field(None, description="Unix seconds; null: it is not suspended")
    suspension_reason: str | None = None

    @classmethod
    def of(cls, row: TenantRow) -> "TenantView":
        """The view of a row."""
        return cls(
            id=row.id,
            slug=row.slug,
            name=row.name,
            allowed_bases=row.allowed_bases,
            weight=row.weight,
            created_at=int(row.created_at.timestamp()),
            suspended_at=_seconds(row.suspended_at),
            suspension_reason=row.suspension_reason,
        )


class KeyView(BaseModel):
    """An API key without its secret."""

    id: str
    object: Literal["api_key"] = "api_key"
    name: str
    role: Role
    tenant_id: str | None
    redacted_value: str = Field(description="the first characters, for telling keys apart")
    created_at: int = Field(description="Unix seconds")
    last_used_at: int | None
    revoked_at: int | None

    @classmethod
    def of(cls, row: ApiKeyRow) -> "KeyView":
        """The view of a row."""
        return cls(
            id=row.id,
            name=row.name,
            role=Role(row.role),
            tenant_id=row.tenant_id,
            redacted_value=f"{row.prefix}…",
            created_at=int(row.created_at.timestamp()),
            last_used_at=_seconds(row.last_used_at),
            revoked_at=_seconds(row.revoked_at),
        )


def _seconds(stamp: datetime | None) -> int | None:
    return None if stamp is None else int(stamp.timestamp())

"""`/v1/admin`: tenants, their keys, and hosts. Needs an admin key. Tenants are named by id or slug."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.auth import AdminDep
from api.errors import documented
from api.listing import Listing, whole
from api.services import ServicesDep
from orchestrator.lifecycle import suspension
from orchestrator.lifecycle.suspension import Suspension
from orchestrator.queries.hosts import HostView, list_hosts
from orchestrator.tenancy import keys, tenants
from orchestrator.tenancy.tenants import NewTenant, TenantChanges
from orchestrator.tenancy.views import KeyView, TenantView
from orchestrator.text import SingleLine

router = APIRouter(prefix="/v1/admin", tags=["admin"])
_ERRORS = documented(HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


class NewKey(BaseModel):
    """An admin's request to create a key."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[SingleLine, Field(min_length=1, max_length=200)] = "default"


class IssuedKey(KeyView):
    """A key with its secret, shown once."""

    value: str = Field(description="the key itself; it is never shown again")


@router.post("/tenants", responses=_ERRORS)
def create_tenant(body: NewTenant, _: AdminDep, services: ServicesDep) -> TenantView:
    """Create a tenant."""
    return tenants.create_tenant(services.db, services.catalogue, body, services.clock())


@router.post("/tenants/{tenant_id}", responses=_ERRORS)
def update_tenant(tenant_id: str, body: TenantChanges, _: AdminDep, services: ServicesDep) -> TenantView:
    """Update a tenant. Omitted fields stay; jobs submitted earlier keep their weight."""
    return tenants.update_tenant(services.db, tenant_id, body)


@router.get("/tenants", responses=_ERRORS)
def list_tenants(_: AdminDep, services: ServicesDep) -> Listing[TenantView]:
    """Every tenant."""
    return whole(tenants.list_tenants(services.db))


@router.post("/tenants/{tenant_id}/keys", responses=_ERRORS)
def create_key(tenant_id: str, body: NewKey, _: AdminDep, services: ServicesDep) -> IssuedKey:
    """Create a key of the tenant. Only this response contains its value."""
    view, secret = keys.create_tenant_key(services.db, tenant_id, body.name, services.clock())
    return IssuedKey(**view.model_dump(), value=secret)


@router.get("/tenants/{tenant_id}/keys", responses=_ERRORS)
def list_keys(tenant_id: str, _: AdminDep, services: ServicesDep) -> Listing[KeyView]:
    """The tenant's keys, without their values."""
    return whole(keys.list_keys(services.db, tenant_id))


@router.delete("/tenants/{tenant_id}/keys/{key_id}", responses=_ERRORS)
def revoke_key(tenant_id: str, key_id: str, _: AdminDep, services: ServicesDep) -> KeyView:
    """Revoke a key."""
    return keys.revoke_key(services.db, tenant_id, key_id, services.clock())


@router.post("/tenants/{tenant_id}/suspend", responses=_ERRORS)
def suspend_tenant(tenant_id: str, _: AdminDep, services: ServicesDep, body: Suspension | None = None) -> TenantView:
    """Suspend a tenant: its keys are refused with `tenant_suspended`, and its jobs rest as if paused, each after a
    checkpoint. Finished adapters are still published. Idempotent."""
    return suspension.suspend(services.db, tenant_id, body or Suspension(), services.clock())


@router.post("/tenants/{tenant_id}/resume", responses=_ERRORS)
def resume_tenant(tenant_id: str, _: AdminDep, services: ServicesDep) -> TenantView:
    """End a suspension: keys work again, and jobs continue from their newest checkpoints. Idempotent."""
    return suspension.resume_tenant(services.db, tenant_id)


@router.get("/keys", responses=_ERRORS)
def list_admin_keys(_: AdminDep, services: ServicesDep) -> Listing[KeyView]:
    """The admin keys, without their values."""
    return whole(keys.list_admin_keys(services.db))


@router.delete("/keys/{key_id}", responses=_ERRORS)
def revoke_admin_key(key_id: str, _: AdminDep, services: ServicesDep) -> KeyView:
    """Revoke an admin key; refused with `last_admin_key` for the last one that works."""
    return keys.revoke_admin_key(services.db, key_id, services.clock())


@router.get("/hosts", responses=_ERRORS)
def hosts(_: AdminDep, services: ServicesDep) -> Listing[HostView]:
    """Live hosts and their jobs, then recently ended hosts."""
    return whole(list_hosts(services.db))

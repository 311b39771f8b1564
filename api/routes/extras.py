"""`/v1/x`: endpoints that OpenAI's API does not have."""

from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.auth import EvenSuspendedDep, TenantDep
from api.errors import documented
from api.services import ServicesDep
from orchestrator.submission.estimate import EstimateView, estimate
from orchestrator.submission.request import JobRequest
from orchestrator.tenancy.views import Role, Tenant

router = APIRouter(prefix="/v1/x", tags=["orchard"])


class TenantRef(BaseModel):
    """The tenant of a key."""

    id: str
    slug: str
    name: str
    suspended: bool = Field(description="whether its keys are refused and its jobs rest")


class WhoAmI(BaseModel):
    """The key's principal."""

    object: Literal["principal"] = "principal"
    role: Role
    key_id: str
    redacted_key: str
    tenant: TenantRef | None


@router.get("/whoami", responses=documented())
def whoami(principal: EvenSuspendedDep) -> WhoAmI:
    """The role and tenant of this key."""
    tenant = principal.tenant
    return WhoAmI(
        role=principal.role,
        key_id=principal.key_id,
        redacted_key=f"{principal.key_prefix}…",
        tenant=None if tenant is None else _reference(tenant),
    )


def _reference(tenant: Tenant) -> TenantRef:
    return TenantRef(id=tenant.id, slug=tenant.slug, name=tenant.name, suspended=tenant.suspended_at is not None)


@router.post("/estimate", responses=documented(HTTPStatus.NOT_FOUND))
def estimate_job(body: JobRequest, tenant: TenantDep, services: ServicesDep) -> EstimateView:
    """Dry run of a submission: its resolved numbers and memory. Nothing is created."""
    return estimate(services.submit_deps, tenant, body, services.clock())

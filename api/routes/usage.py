"""`/v1/usage`: training usage by hour or day, of one tenant or, for admins, of all."""

from http import HTTPStatus
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query

from api.auth import AdminDep, TenantDep
from api.errors import documented
from api.parameters import MAX_ID_CHARS
from api.services import ServicesDep
from orchestrator.tenancy.tenants import get_tenant
from orchestrator.usage.queries import Span, usage
from orchestrator.usage.views import Bucket, GroupBy, UsagePage

router = APIRouter(prefix="/v1", tags=["usage"])
_LAST: Final = 32_503_679_999  # the end of the year 2999; its minutes fit an INTEGER
Start = Annotated[
    int | None, Query(ge=0, le=_LAST, description="Unix seconds; by default 24 hours or 7 days before the end")
]
End = Annotated[int | None, Query(ge=0, le=_LAST, description="Unix seconds; by default now")]


@router.get("/usage", responses=documented())
def own_usage(
    tenant: TenantDep,
    services: ServicesDep,
    start: Start = None,
    end: End = None,
    bucket: Bucket = Bucket.HOUR,
    group_by: Literal["base", "job", "flavor"] | None = None,
) -> UsagePage:
    """Usage of the tenant's jobs. Buckets are whole hours or days in UTC."""
    span = Span.of(bucket, start, end, services.clock())
    return usage(services.db, tenant.id, span, None if group_by is None else GroupBy(group_by))


@router.get("/admin/usage", responses=documented(HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND))
def all_usage(
    _: AdminDep,
    services: ServicesDep,
    start: Start = None,
    end: End = None,
    bucket: Bucket = Bucket.HOUR,
    group_by: GroupBy | None = None,
    tenant: Annotated[
        str | None, Query(max_length=MAX_ID_CHARS, description="id or slug; by default all tenants")
    ] = None,
) -> UsagePage:
    """Usage of all tenants, or of one."""
    span = Span.of(bucket, start, end, services.clock())
    tenant_id = None if tenant is None else get_tenant(services.db, tenant).id
    return usage(services.db, tenant_id, span, group_by)

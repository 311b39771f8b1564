"""`/v1/webhook_endpoints`: notifications that a job has ended."""

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api.auth import TenantDep
from api.errors import documented
from api.listing import Listing, listing
from api.parameters import After
from api.services import ServicesDep
from orchestrator.paging import PageWindow
from orchestrator.webhooks.events import EventType
from orchestrator.webhooks.requests import EndpointChange, NewEndpoint, Rotation, TestRequest
from orchestrator.webhooks.views import DeletedEndpoint, DeliveryView, EndpointView, EndpointWithSecret, TrialResult

router = APIRouter(prefix="/v1", tags=["webhooks"])
Limit = Annotated[int, Query(ge=1, le=100)]
_ERRORS = documented(HTTPStatus.NOT_FOUND)


class EventTypeList(BaseModel):
    """The available events."""

    object: Literal["list"] = "list"
    data: list[EventType]


@router.get("/webhook_event_types", responses=documented())
def list_event_types(_: TenantDep) -> EventTypeList:
    """The events that an endpoint may subscribe to."""
    return EventTypeList(data=list(EventType))


@router.post("/webhook_endpoints", responses=documented(HTTPStatus.TOO_MANY_REQUESTS))
def create_endpoint(body: NewEndpoint, tenant: TenantDep, services: ServicesDep) -> EndpointWithSecret:
    """Create an endpoint. Only this response contains its signing secret."""
    return services.webhooks.create(tenant.id, body, services.clock())


@router.get("/webhook_endpoints", responses=documented())
def list_endpoints(
    tenant: TenantDep, services: ServicesDep, after: After = None, limit: Limit = 20
) -> Listing[EndpointView]:
    """The tenant's endpoints, newest first."""
    return listing(services.webhooks.list(tenant.id, PageWindow(limit, after)))


@router.get("/webhook_endpoints/{endpoint_id}", responses=_ERRORS)
def retrieve_endpoint(endpoint_id: str, tenant: TenantDep, services: ServicesDep) -> EndpointView:
    """One endpoint."""
    return services.webhooks.get(tenant.id, endpoint_id)


@router.post("/webhook_endpoints/{endpoint_id}", responses=_ERRORS)
def update_endpoint(endpoint_id: str, body: EndpointChange, tenant: TenantDep, services: ServicesDep) -> EndpointView:
    """Update, enable or disable an endpoint. Omitted fields stay."""
    return services.webhooks.update(tenant.id, endpoint_id, body, services.clock())


@router.delete("/webhook_endpoints/{endpoint_id}", responses=_ERRORS)
def delete_endpoint(endpoint_id: str, tenant: TenantDep, services: ServicesDep) -> DeletedEndpoint:
    """Delete an endpoint. Its pending deliveries are dropped."""
    return services.webhooks.delete(tenant.id, endpoint_id, services.clock())


@router.post("/webhook_endpoints/{endpoint_id}/rotate_secret", responses=_ERRORS)
def rotate_secret(
    endpoint_id: str, tenant: TenantDep, services: ServicesDep, body: Rotation | None = None
) -> EndpointWithSecret:
    """Rotate the signing secret. Only this response contains the new one."""
    keep_old = body is not None and body.keep_old_secret_active_for_24_hours
    return services.webhooks.rotate_secret(tenant.id, endpoint_id, keep_old=keep_old, now=services.clock())


@router.post("/webhook_endpoints/{endpoint_id}/test", responses=_ERRORS)
async def send_sample(
    endpoint_id: str, tenant: TenantDep, services: ServicesDep, body: TestRequest | None = None
) -> TrialResult:
    """Send a signed sample of a nonexistent job to the endpoint now, and return the endpoint's response."""
    event_type = (body or TestRequest()).event_type
    return await services.test_deliveries.send(tenant.id, endpoint_id, event_type, services.clock())


@router.get("/webhook_endpoints/{endpoint_id}/deliveries", responses=_ERRORS)
def list_deliveries(
    endpoint_id: str, tenant: TenantDep, services: ServicesDep, after: After = None, limit: Limit = 20
) -> Listing[DeliveryView]:
    """Deliveries of an endpoint, pending ones and those of the last month, newest first."""
    return listing(services.webhooks.deliveries(tenant.id, endpoint_id, PageWindow(limit, after), services.clock()))

"""`/v1/models`. Ids may contain slashes."""

from http import HTTPStatus

from fastapi import APIRouter

from api.auth import TenantDep
from api.errors import documented
from api.listing import Listing, whole
from api.services import ServicesDep
from orchestrator.files.views import DeletedView
from orchestrator.jobs import models
from orchestrator.jobs.models import ModelView

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", responses=documented())
def list_models(tenant: TenantDep, services: ServicesDep) -> Listing[ModelView]:
    """Bases on offer and the tenant's tuned models."""
    return whole(models.list_models(services.db, services.catalogue, tenant))


@router.get("/{model:path}", responses=documented(HTTPStatus.NOT_FOUND))
def retrieve_model(model: str, tenant: TenantDep, services: ServicesDep) -> ModelView:
    """One model."""
    return models.get_model(services.db, services.catalogue, tenant, model)


@router.delete("/{model:path}", responses=documented(HTTPStatus.NOT_FOUND))
def delete_model(model: str, tenant: TenantDep, services: ServicesDep) -> DeletedView:
    """Delete a tuned model."""
    return models.delete_model(services.db, services.catalogue, tenant, model, services.clock())

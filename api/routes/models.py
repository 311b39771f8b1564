"""`/v1/models`, and the adapters behind them. Ids may contain slashes."""

from http import HTTPStatus

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from api.auth import TenantDep
from api.errors import documented
from api.listing import Listing, whole
from api.routes.tar import TAR, tar_response
from api.services import ServicesDep
from orchestrator.artifacts import models
from orchestrator.artifacts.models import ModelView
from orchestrator.files.views import DeletedView

router = APIRouter(tags=["models"])


@router.get("/v1/models", responses=documented())
def list_models(tenant: TenantDep, services: ServicesDep) -> Listing[ModelView]:
    """Bases on offer and the tenant's tuned models."""
    return whole(models.list_models(services.db, services.catalogue, tenant, services.pages(tenant)))


@router.get("/v1/models/{model:path}", responses=documented(HTTPStatus.NOT_FOUND))
def retrieve_model(model: str, tenant: TenantDep, services: ServicesDep) -> ModelView:
    """One model."""
    return models.get_model(services.db, services.catalogue, tenant, model, services.pages(tenant))


@router.delete("/v1/models/{model:path}", responses=documented(HTTPStatus.NOT_FOUND))
def delete_model(model: str, tenant: TenantDep, services: ServicesDep) -> DeletedView:
    """Delete a tuned model and every checkpoint of its job, also those you have shared.

    MLflow keeps the record of what was trained, marked as deleted, and its copy of the weights until the operator runs
    `mlflow gc`; until then, users with access to the tenant's workspace there can load it by its version.
    """
    return models.delete_model(services.db, services.catalogue, tenant, model, services.clock())


@router.get(
    "/v1/x/models/{model:path}/adapter",
    response_class=StreamingResponse,
    responses=documented(HTTPStatus.NOT_FOUND) | TAR,
)
def download_model(model: str, tenant: TenantDep, services: ServicesDep) -> StreamingResponse:
    """The adapter of a tuned model, or of a checkpoint that is yours or was shared with you, as a tar."""
    return tar_response(models.open_model(services.db, tenant, model))

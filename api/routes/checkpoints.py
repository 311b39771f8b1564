"""`/v1/fine_tuning/checkpoints/{name}/permissions`. Names may contain slashes. Projects are tenants."""

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from api.auth import PrincipalDep
from api.errors import documented
from api.listing import Listing, listing, whole
from api.parameters import MAX_ID_CHARS, After
from api.services import ServicesDep
from orchestrator.artifacts import permissions
from orchestrator.artifacts.permissions import NewPermissions, PermissionView
from orchestrator.files.views import DeletedView
from orchestrator.paging import PageWindow
from orchestrator.tenancy.views import Principal

router = APIRouter(
    prefix="/v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint:path}/permissions", tags=["fine-tuning"]
)
_ERRORS = documented(HTTPStatus.NOT_FOUND)


@router.post("", responses=_ERRORS)
def create_permissions(
    fine_tuned_model_checkpoint: str, body: NewPermissions, principal: PrincipalDep, services: ServicesDep
) -> Listing[PermissionView]:
    """Let other tenants see and download your checkpoint; with an admin key, any tenant's."""
    owner = _owner(principal)
    return whole(permissions.grant(services.db, owner, fine_tuned_model_checkpoint, body, services.clock()))


@router.get("", responses=_ERRORS)
def list_permissions(
    fine_tuned_model_checkpoint: str,
    principal: PrincipalDep,
    services: ServicesDep,
    project_id: Annotated[str | None, Query(max_length=MAX_ID_CHARS)] = None,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 10,
    order: Literal["ascending", "descending"] = "descending",
) -> Listing[PermissionView]:
    """Who may use the checkpoint."""
    window = PageWindow(limit, after, ascending=order == "ascending")
    owner = _owner(principal)
    return listing(permissions.list_permissions(services.db, owner, fine_tuned_model_checkpoint, project_id, window))


@router.delete("/{permission_id}", responses=_ERRORS)
def delete_permission(
    fine_tuned_model_checkpoint: str, permission_id: str, principal: PrincipalDep, services: ServicesDep
) -> DeletedView:
    """Revoke a tenant's access from its next request on."""
    owner, now = _owner(principal), services.clock()
    return permissions.revoke(services.db, owner, fine_tuned_model_checkpoint, permission_id, now)


def _owner(principal: Principal) -> str | None:
    """OpenAI's documentation requires an admin key here, but its client sends the ordinary one: both work."""
    return None if principal.tenant is None else principal.tenant.id

"""`/v1/uploads`: multipart uploads."""

from functools import partial
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from api.auth import TenantDep
from api.errors import documented
from api.multipart import file_field, file_part, form_body, read_form
from api.services import ServicesDep
from orchestrator.uploads import begin, complete, parts
from orchestrator.uploads.begin import NewUpload
from orchestrator.uploads.complete import CompleteUpload
from orchestrator.uploads.views import UploadPartView, UploadView

router = APIRouter(prefix="/v1/uploads", tags=["files"])
_ERRORS = documented(HTTPStatus.NOT_FOUND, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
_FORM = form_body({"data": file_field("at most 64 MiB")}, required=["data"])


@router.post("", responses=documented(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.TOO_MANY_REQUESTS))
def create_upload(body: NewUpload, tenant: TenantDep, services: ServicesDep) -> UploadView:
    """Create an upload, whose parts must arrive within an hour."""
    return begin.begin(services.db, tenant.id, services.part_limits, body, services.clock())


@router.post("/{upload_id}/parts", responses=_ERRORS, openapi_extra=_FORM)
async def add_part(upload_id: str, request: Request, tenant: TenantDep, services: ServicesDep) -> UploadPartView:
    """Add a part. Parts may arrive in any order and in parallel; completing the upload sets their order."""
    async with read_form(request, max_fields=1) as form:
        data = file_part(form, "data")
        return await run_in_threadpool(
            parts.add_part, services.db, tenant.id, services.part_limits, upload_id, data.file, services.clock()
        )


@router.post("/{upload_id}/complete", responses=_ERRORS)
async def complete_upload(upload_id: str, body: CompleteUpload, tenant: TenantDep, services: ServicesDep) -> UploadView:
    """Join the parts into one validated file. Repeating returns the same file."""
    arguments = (services.db, tenant.id, services.part_limits, upload_id, body, services.clock())
    return await services.upload_turns.run(tenant.id, partial(complete.complete, *arguments))


@router.post("/{upload_id}/cancel", responses=_ERRORS)
def cancel_upload(upload_id: str, tenant: TenantDep, services: ServicesDep) -> UploadView:
    """Cancel an upload; it accepts no more parts."""
    return begin.cancel(services.db, tenant.id, upload_id, services.clock())

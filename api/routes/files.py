"""`/v1/files`."""

from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from api.auth import TenantDep
from api.errors import documented
from api.listing import Listing, listing
from api.multipart import file_field, file_part, form_body, read_form
from api.parameters import MAX_ID_CHARS, After
from api.routes.issues import ISSUE_RESPONSES, AsFileDep, IssueLimit, IssueListing, issue_file, issue_listing
from api.services import ServicesDep
from orchestrator.files import delete, queries
from orchestrator.files.upload import NewFile, upload
from orchestrator.files.views import DeletedView, FileView, ListedFile
from orchestrator.paging import PageWindow
from workers.formats.shapes import SHAPE_NAMES

router = APIRouter(tags=["files"])
_FORM = form_body(
    {
        "file": file_field("JSONL, a JSON array, CSV with a header or Parquet; also compressed with gzip or zstd"),
        "purpose": {"type": "string", "enum": ["fine-tune"]},
        "format": {
            "type": "string",
            "enum": list(SHAPE_NAMES),
            "description": "what the keys of the rows mean; needed only if they fit several formats",
        },
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2592000},
    },
    required=["file", "purpose"],
)
_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}


@router.post("/v1/files", responses=documented(HTTPStatus.REQUEST_ENTITY_TOO_LARGE), openapi_extra=_FORM)
async def create_file(request: Request, tenant: TenantDep, services: ServicesDep) -> FileView:
    """Upload a data set. Every line is checked; a file with bad lines gets status `error` and a report.

    The body is read here and not by a parameter, so that the key is checked before the upload.
    """
    async with read_form(request, max_fields=8) as form:
        file = file_part(form, "file")
        new = _new_file(file, form)
        work = partial(upload, services.db, tenant.id, services.upload_limits, new, file.file, services.clock())
        return await services.upload_turns.run(tenant.id, work)


@router.get("/v1/files", responses=documented())
def list_files(
    tenant: TenantDep,
    services: ServicesDep,
    purpose: Annotated[str | None, Query(max_length=MAX_ID_CHARS)] = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description=f"a page has at most {queries.MAX_PAGE}")] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    after: After = None,
) -> Listing[ListedFile]:
    """The tenant's files, page by page. A file's issues come with the file alone and with its report."""
    window = PageWindow(limit, after, ascending=order == "asc")
    return listing(queries.list_files(services.db, tenant.id, purpose, window, services.clock()))


@router.get("/v1/files/{file_id}", responses=documented(HTTPStatus.NOT_FOUND))
def retrieve_file(file_id: str, tenant: TenantDep, services: ServicesDep) -> FileView:
    """One file."""
    return queries.get_file(services.db, tenant.id, file_id, services.clock())


@router.delete("/v1/files/{file_id}", responses=documented(HTTPStatus.NOT_FOUND))
def delete_file(file_id: str, tenant: TenantDep, services: ServicesDep) -> DeletedView:
    """Delete a file and its bytes; refused while a job uses it."""
    return delete.delete_file(services.db, tenant.id, file_id, services.clock())


@router.get(
    "/v1/files/{file_id}/content",
    response_class=StreamingResponse,
    responses=documented(HTTPStatus.NOT_FOUND) | _BYTES,
)
def file_content(file_id: str, tenant: TenantDep, services: ServicesDep) -> StreamingResponse:
    """The file's bytes as uploaded."""
    content = queries.open_content(services.db, tenant.id, file_id, services.clock())
    headers = {
        "content-length": str(content.size_bytes),
        "content-disposition": f"attachment; filename*=UTF-8''{quote(content.filename)}",
    }
    return StreamingResponse(content.chunks, media_type="application/octet-stream", headers=headers)


@router.get(
    "/v1/files/{file_id}/x/issues",
    response_model=IssueListing,
    responses=documented(HTTPStatus.NOT_FOUND) | ISSUE_RESPONSES,
)
def file_issues(
    file_id: str,
    tenant: TenantDep,
    services: ServicesDep,
    as_file: AsFileDep,
    limit: IssueLimit = 100,
    after: After = None,
) -> IssueListing | StreamingResponse:
    """What is wrong with a file, in the order of its lines, page by page or as one file of JSONL."""
    db, now = services.db, services.clock()
    if as_file:
        return issue_file(file_id, queries.file_issue_lines(db, tenant.id, file_id, now))
    return issue_listing(queries.file_issues(db, tenant.id, file_id, PageWindow(limit, after), now))


def _new_file(file: UploadFile, form: FormData) -> NewFile:
    expiry = {
        name: form[f"expires_after[{name}]"] for name in ("anchor", "seconds") if f"expires_after[{name}]" in form
    }
    fields: dict[str, Any] = {"filename": file.filename or "", "expires_after": expiry or None}
    fields |= {name: form[name] for name in ("purpose", "format") if name in form}
    try:
        return NewFile.model_validate(fields)
    except ValidationError as error:
        raise RequestValidationError([{**e, "loc": ("body", *e["loc"])} for e in error.errors()]) from None

"""`/v1/fine_tuning/jobs`."""

import re
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse

from api.auth import PrincipalDep, SuspendedTenantDep, TenantDep
from api.errors import documented
from api.listing import Listing, listing
from api.parameters import After, LastEventId, RetryCount
from api.routes.event_stream import EventStreamsDep
from api.routes.issues import ISSUE_RESPONSES, AsFileDep, IssueLimit, IssueListing, issue_file, issue_listing
from api.routes.tar import TAR, tar_response
from api.services import Services, ServicesDep
from orchestrator.artifacts.adapters import open_adapter
from orchestrator.errors import InvalidRequest
from orchestrator.lifecycle.desired import cancel, pause, resume
from orchestrator.lifecycle.events import Actor
from orchestrator.paging import PageWindow
from orchestrator.queries import jobs as queries
from orchestrator.queries.job_views import CheckpointView, EventView, JobView
from orchestrator.queries.why import WhyView, why
from orchestrator.submission.idempotency import MAX_KEY_CHARS, Sender
from orchestrator.submission.request import MAX_METADATA_PAIRS, JobRequest
from orchestrator.submission.submit import submit_and_show
from orchestrator.tenancy.views import Principal, Tenant

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["fine-tuning"])
Limit = Annotated[int, Query(ge=1, le=1_000)]
_METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)
_DEEP_OBJECT = {
    "parameters": [
        {
            "name": "metadata",
            "in": "query",
            "style": "deepObject",
            "explode": True,
            "description": "`metadata[k]=v` for jobs with that pair; `metadata=null` for jobs without any",
            "schema": {"type": "object", "additionalProperties": {"type": "string"}},
        }
    ]
}
_KEY = (
    "any text of yours, at most 255 characters: for a day, the same key and body give the same job. Send one "
    "where you may submit the same body twice and mean two jobs: without it, a retry whose first try was cut off gives "
    "the job that an equal submission made up to 11 minutes earlier, unless you have asked for that job since"
)
_SENT_EVENT = {
    "type": "object",
    "description": "Each event of the stream; its data is JSON: an event of the job, or its status at the end.",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": _SENT_EVENT}}, "description": "A page, or the stream"}
}


@router.post(
    "", responses=documented(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.TOO_MANY_REQUESTS)
)
def create_job(
    body: JobRequest,
    tenant: TenantDep,
    principal: PrincipalDep,
    services: ServicesDep,
    idempotency_key: Annotated[str | None, Header(max_length=MAX_KEY_CHARS, description=_KEY)] = None,
    x_stainless_retry_count: RetryCount = 0,
) -> JobView:
    """Submit a job. A retried POST, identified by its key or retry count, returns the same job."""
    now = services.clock()
    known = services.receipts.of(principal.key_id) if x_stainless_retry_count else ()
    sender = Sender(principal.key_id, x_stainless_retry_count, principal.role, known)
    return submit_and_show(services.submit_deps, tenant, body, idempotency_key, now, sender)


@router.get("", responses=documented(), openapi_extra=_DEEP_OBJECT)
def list_jobs(
    request: Request, tenant: TenantDep, services: ServicesDep, after: After = None, limit: Limit = 20
) -> Listing[JobView]:
    """The tenant's jobs, newest first."""
    wanted = _metadata(request)
    window, pages = PageWindow(limit, after), services.pages(tenant)
    return listing(queries.list_jobs(services.db, tenant.id, window, wanted, services.clock(), pages))


@router.get("/{job_id}", responses=documented(HTTPStatus.NOT_FOUND))
def retrieve_job(job_id: str, tenant: TenantDep, principal: PrincipalDep, services: ServicesDep) -> JobView:
    """One job."""
    view = queries.get_job(services.db, tenant.id, job_id, services.clock(), services.pages(tenant))
    services.receipts.note(principal.key_id, job_id)
    return view


@router.post("/{job_id}/cancel", responses=documented(HTTPStatus.NOT_FOUND))
def cancel_job(job_id: str, tenant: TenantDep, principal: PrincipalDep, services: ServicesDep) -> JobView:
    """Cancel a job. It vacates its seat after the current step. Idempotent."""
    cancel(services.db, tenant.id, job_id, _actor(principal, tenant, services))
    return queries.get_job(services.db, tenant.id, job_id, services.clock(), services.pages(tenant))


@router.post("/{job_id}/pause", responses=documented(HTTPStatus.NOT_FOUND))
def pause_job(job_id: str, tenant: TenantDep, principal: PrincipalDep, services: ServicesDep) -> JobView:
    """Pause a job. It saves a checkpoint and vacates its seat after the current step. Idempotent."""
    pause(services.db, tenant.id, job_id, _actor(principal, tenant, services))
    return queries.get_job(services.db, tenant.id, job_id, services.clock(), services.pages(tenant))


@router.post("/{job_id}/resume", responses=documented(HTTPStatus.NOT_FOUND))
def resume_job(job_id: str, tenant: TenantDep, principal: PrincipalDep, services: ServicesDep) -> JobView:
    """Resume a paused job from its newest checkpoint once a seat is free. Idempotent."""
    resume(services.db, tenant.id, job_id, _actor(principal, tenant, services))
    return queries.get_job(services.db, tenant.id, job_id, services.clock(), services.pages(tenant))


@router.get("/{job_id}/why", responses=documented(HTTPStatus.NOT_FOUND))
def why_job(job_id: str, tenant: SuspendedTenantDep, services: ServicesDep) -> WhyView:
    """What blocks the job, since when, and what would unblock it."""
    return why(services.db, tenant.id, job_id, services.clock())


@router.get(
    "/{job_id}/events",
    response_model=Listing[EventView],
    responses=documented(HTTPStatus.NOT_FOUND, HTTPStatus.TOO_MANY_REQUESTS) | _STREAM,
)
def list_events(
    job_id: str,
    tenant: TenantDep,
    principal: PrincipalDep,
    services: ServicesDep,
    streams: EventStreamsDep,
    after: After = None,
    limit: Limit = 20,
    stream: Annotated[bool, Query(description="server-sent events, oldest first, until the job is over")] = False,
    last_event_id: LastEventId = None,
) -> Listing[EventView] | EventSourceResponse:
    """The job's events, newest first; with `stream=true`, as they happen.

    A stream ends with `event: end` when the job is over. One without news ends after a while with a `retry` field: open
    it again with the id of the last event as `Last-Event-ID`.
    """
    if stream:
        return streams.open(principal, tenant.id, job_id, last_event_id or after)
    return listing(queries.list_events(services.db, tenant.id, job_id, PageWindow(limit, after)))


@router.get(
    "/{job_id}/x/issues", response_model=IssueListing, responses=documented(HTTPStatus.NOT_FOUND) | ISSUE_RESPONSES
)
def job_issues(
    job_id: str,
    tenant: TenantDep,
    services: ServicesDep,
    as_file: AsFileDep,
    limit: IssueLimit = 100,
    after: After = None,
) -> IssueListing | StreamingResponse:
    """The rows that the job failed over, the training file's first, page by page or as one file of JSONL."""
    if as_file:
        return issue_file(job_id, queries.job_issue_lines(services.db, tenant.id, job_id))
    return issue_listing(queries.job_issues(services.db, tenant.id, job_id, PageWindow(limit, after)))


@router.get("/{job_id}/checkpoints", responses=documented(HTTPStatus.NOT_FOUND))
def list_checkpoints(
    job_id: str, tenant: TenantDep, services: ServicesDep, after: After = None, limit: Limit = 10
) -> Listing[CheckpointView]:
    """The job's checkpoints, newest first."""
    return listing(queries.list_checkpoints(services.db, tenant, job_id, PageWindow(limit, after)))


@router.get("/{job_id}/adapter", response_class=StreamingResponse, responses=documented(HTTPStatus.NOT_FOUND) | TAR)
def download_adapter(job_id: str, tenant: TenantDep, services: ServicesDep) -> StreamingResponse:
    """The finished adapter as a tar: a PEFT folder with its tokenizer."""
    return tar_response(open_adapter(services.db, tenant.id, job_id))


def _actor(principal: Principal, tenant: Tenant, services: Services) -> Actor:
    return Actor(principal.key_id, principal.role, tenant.id, services.clock())


def _metadata(request: Request) -> dict[str, str] | None:
    """OpenAI's deep-object filter. `metadata=null` selects jobs without metadata and is None here."""
    pairs: dict[str, str] = {}
    filters = 0
    for name, value in request.query_params.multi_items():
        if name == "metadata" and value == "null":
            return None
        if match := _METADATA.fullmatch(name):
            pairs[match[1]] = value
        elif name == "metadata":
            raise InvalidRequest("Filter by metadata[key]=value, or metadata=null.", param="metadata")
        filters += match is not None
    if filters > MAX_METADATA_PAIRS:
        message = (
            f"At most {MAX_METADATA_PAIRS} metadata filters, as many as a job has pairs; this request has {filters}."
        )
        raise InvalidRequest(message, param="metadata")
    return pairs

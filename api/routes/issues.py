"""Reports of bad rows as pages, or whole as a file. `api.routes.files` and `api.routes.jobs` serve them."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, Query, Request
from fastapi.responses import StreamingResponse

from api.listing import Listing, listing
from orchestrator.issues.report import MAX_PAGE, IssuePage
from orchestrator.issues.views import IssueTotals, IssueView

JSONL: Final = "application/x-ndjson"
IssueLimit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
ISSUE_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    int(HTTPStatus.OK): {
        "description": "A page, or the whole report as JSONL",
        "content": {JSONL: {"schema": {"type": "string"}}},
    }
}


class IssueListing(Listing[IssueView], IssueTotals):
    """A page of a report, with the totals of all of it."""


def _wants_file(
    request: Request,
    format: Annotated[
        Literal["json", "jsonl"] | None,
        Query(
            description="`jsonl`: the whole report as an attachment, whatever the page; so does `Accept: " + JSONL + "`"
        ),
    ] = None,
) -> bool:
    return format == "jsonl" or (format is None and JSONL in request.headers.get("accept", ""))


AsFileDep = Annotated[bool, Depends(_wants_file)]


def issue_listing(found: IssuePage) -> IssueListing:
    """The envelope of one page."""
    return IssueListing(**dict(listing(found.page)), **dict(found.totals))


def issue_file(owner_id: str, lines: Iterator[bytes]) -> StreamingResponse:
    """The whole report, to save. `owner_id`: the file or job that it is about."""
    headers = {"content-disposition": f'attachment; filename="{owner_id}.issues.jsonl"'}
    return StreamingResponse(lines, media_type=JSONL, headers=headers)

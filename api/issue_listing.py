"""The issues of files and jobs: a page, or all that are stored as JSONL."""

from typing import Annotated, Any, Literal

from fastapi import Query
from fastapi.responses import Response
from pydantic import Field

from api.listing import Listing, listing
from orchestrator.files.issues import IssueView, Report
from orchestrator.paging import PageWindow

IssueLimit = Annotated[int, Query(ge=1, le=1_000)]
IssueFormat = Annotated[Literal["json", "jsonl"], Query(alias="format", description="jsonl: all of them, to download")]
JSONL: dict[int | str, dict[str, Any]] = {200: {"content": {"application/jsonl": {"schema": {"type": "string"}}}}}


class IssueListing(Listing[IssueView]):
    """A page of problems."""

    total: int = Field(description="problems that were found; at most a thousand of a file are stored")


def issues_answer(
    report: Report, window: PageWindow, form: Literal["json", "jsonl"], name: str
) -> IssueListing | Response:
    """The page, or a download called after `name`. Raises: InvalidRequest (cursor)."""
    if form == "jsonl":
        headers = {"content-disposition": f'attachment; filename="{name}.issues.jsonl"'}
        return Response(report.lines(), media_type="application/jsonl", headers=headers)
    page = listing(report.page(window))
    return IssueListing(**page.model_dump(), total=report.total)

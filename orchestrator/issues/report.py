"""Reads reports: a page, the first few, or all as JSONL. Whoever calls has made sure that the caller owns it."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from orchestrator.db.database import Database
from orchestrator.db.tables import IssuePartRow
from orchestrator.errors import InvalidRequest
from orchestrator.issues.parts import PART
from orchestrator.issues.views import IssueTotals, IssueView
from orchestrator.paging import Page, PageWindow
from workers.contract.issues import FileRole
from workers.contract.rows import RowIssue

MAX_PAGE: Final = 1_000
_PREFIX: Final = "issue-"
_CURSOR: Final = re.compile(_PREFIX + "([1-9][0-9]{0,5})")
_AT_ONCE: Final = 5
"""Parts of a download in memory."""


@dataclass(frozen=True)
class IssuePage:
    """Some issues of a report in the order of the file, the training file's first, and the totals of all."""

    page: Page[IssueView]
    totals: IssueTotals


def issue_page(session: Session, owner_id: str, issue_count: int, window: PageWindow) -> IssuePage:
    """A page of the report. Raises: InvalidRequest if `after` is no id of an issue."""
    after = _number(window.after)
    # A part that is not full ends what was found in a file, and a job has two: so many parts hold a page at least.
    parts = session.scalars(_after(owner_id, after).limit(window.limit // PART + 3))
    found = [view for part in parts for number, view in _issues(part) if number > after]
    page = Page(found[: window.limit], len(found) > window.limit)
    return IssuePage(page, _totals(session, owner_id, issue_count))


def first_issues(session: Session, owner_id: str, limit: int) -> list[RowIssue]:
    """The first issues of a report, at most `PART`."""
    part = session.scalars(_after(owner_id, 0).limit(1)).first()
    return [] if part is None else [RowIssue.model_validate(issue) for issue in part.issues[:limit]]


def issue_lines(db: Database, owner_id: str) -> Iterator[bytes]:
    """The whole report, a line of JSON an issue. It ends early if its file is deleted meanwhile."""
    after = 0
    while True:
        with db.read() as session:
            parts = session.scalars(_after(owner_id, after).limit(_AT_ONCE)).all()
        if not parts:
            return
        for part in parts:
            yield b"".join(view.model_dump_json().encode() + b"\n" for _, view in _issues(part))
        after = parts[-1].last


def _after(owner_id: str, number: int) -> Select[IssuePartRow]:
    mine = (IssuePartRow.owner_id == owner_id, IssuePartRow.last > number)
    return select(IssuePartRow).where(*mine).order_by(IssuePartRow.last)


def _issues(part: IssuePartRow) -> Iterator[tuple[int, IssueView]]:
    """Each issue with its number."""
    role = None if part.role is None else FileRole(part.role)
    for number, issue in enumerate(part.issues, start=part.last - part.count + 1):
        fields: dict[str, Any] = {"id": f"{_PREFIX}{number}", "file_id": part.file_id, "file": role}
        yield number, IssueView.model_validate(issue | fields)


def _totals(session: Session, owner_id: str, issue_count: int) -> IssueTotals:
    codes: Counter[str] = Counter()
    for counted in session.scalars(select(IssuePartRow.codes).where(IssuePartRow.owner_id == owner_id)):
        codes.update(counted)
    by_count = sorted(codes.items(), key=lambda item: (-item[1], item[0]))
    return IssueTotals(issue_count=issue_count, stored_count=codes.total(), codes=dict(by_count))


def _number(after: str | None) -> int:
    if after is None:
        return 0
    if (found := _CURSOR.fullmatch(after)) is None:
        raise InvalidRequest(f"No item '{after}' to continue after.", param="after")
    return int(found[1])

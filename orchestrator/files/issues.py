"""The issues of a file as a report: in pages, or all stored ones at once."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field

from orchestrator.db.database import Database
from orchestrator.errors import InvalidRequest
from orchestrator.files.queries import visible_file
from orchestrator.paging import Page, PageWindow
from workers.contract.rows import RowIssue


class IssueView(RowIssue):
    """One problem of a row, and its place in the report."""

    id: str = Field(description="number in the report, counted from 1")
    object: Literal["file.issue"] = "file.issue"

    @classmethod
    def of(cls, number: int, issue: dict[str, Any]) -> Self:
        """The view of a stored issue."""
        return cls(id=str(number), **issue)


class Report:
    """What is known of a file's problems: how many there are, and those that are stored."""

    def __init__(self, total: int, stored: Sequence[dict[str, Any]]) -> None:
        self.total = total
        self._stored = stored

    def page(self, window: PageWindow) -> Page[IssueView]:
        """One page, in the order of the file. Raises: InvalidRequest (cursor)."""
        first = 0 if window.after is None else self._place(window.after)
        shown = self._stored[first : first + window.limit]
        issues = [IssueView.of(number, issue) for number, issue in enumerate(shown, start=first + 1)]
        return Page(issues, has_more=first + len(shown) < len(self._stored))

    def lines(self) -> str:
        """All that are stored, as JSONL."""
        issues = (IssueView.of(number, issue) for number, issue in enumerate(self._stored, start=1))
        return "".join(issue.model_dump_json() + "\n" for issue in issues)

    def _place(self, after: str) -> int:
        if not (after.isascii() and after.isdigit() and len(after) < 10 and 1 <= int(after) <= len(self._stored)):
            raise InvalidRequest(f"No issue '{after}' to continue after.", param="after")
        return int(after)


def file_report(db: Database, tenant_id: str, file_id: str, now: datetime) -> Report:
    """The report of a file. Raises: NotFound."""
    with db.read() as session:
        row = visible_file(session, tenant_id, file_id, now)
        return Report(row.issue_count, row.issues or ())

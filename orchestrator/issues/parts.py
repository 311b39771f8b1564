"""Writes reports. Issues lie in parts of a few hundred, so that ten thousand are fifty rows, and a page reads three."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, insert
from sqlalchemy.orm import Session

from orchestrator.db.tables import FileRow, IssuePartRow
from workers.contract.issues import MAX_ISSUES, FileRole, storable
from workers.contract.rows import RowIssue

PART: Final = 200
"""Issues of a full part."""


@dataclass(frozen=True)
class Subject:
    """What a report is about: a file, or one of the files of a job, which then is the `owner`."""

    owner_id: str
    tenant_id: str
    file_id: str
    role: FileRole | None = None

    @classmethod
    def of(cls, file: FileRow) -> "Subject":
        """The report of an uploaded file."""
        return cls(file.id, file.tenant_id, file.id)


def write_issues(session: Session, subject: Subject, issues: Sequence[RowIssue], written: int = 0) -> int:
    """Add the issues of one file to a report that has `written` others. Returns how many it has then."""
    bounded = issues[:MAX_ISSUES]
    if bounded:
        session.execute(insert(IssuePartRow), [_part(subject, *part) for part in _parts(bounded, written)])
    return written + len(bounded)


def erase_issues(session: Session, owner_id: str) -> None:
    """Remove a report, so that another can be written."""
    session.execute(_removed(IssuePartRow.owner_id == owner_id))


def erase_issues_of_files(session: Session, file_ids: Sequence[str]) -> None:
    """Remove what was reported of deleted files, by them and by jobs. Call it in the transaction that deletes them."""
    session.execute(_removed(IssuePartRow.file_id.in_(file_ids)))


def _removed(which: ColumnElement[bool]) -> Any:
    return delete(IssuePartRow).where(which).execution_options(synchronize_session=False)


def _parts(issues: Sequence[RowIssue], written: int) -> Iterator[tuple[int, Sequence[RowIssue]]]:
    """Each part with the number of its last issue, counted from 1 over the whole report."""
    for begin in range(0, len(issues), PART):
        part = issues[begin : begin + PART]
        yield written + begin + len(part), part


def _part(subject: Subject, last: int, issues: Sequence[RowIssue]) -> dict[str, Any]:
    return {
        "owner_id": subject.owner_id,
        "last": last,
        "tenant_id": subject.tenant_id,
        "file_id": subject.file_id,
        "role": subject.role,
        "count": len(issues),
        "codes": dict(Counter(issue.code for issue in issues)),
        "issues": [storable(issue).model_dump(mode="json") for issue in issues],
    }

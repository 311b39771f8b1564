"""What a job reports that ends over its files, wherever they were found bad: one function writes it."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from sqlalchemy import update
from sqlalchemy.orm import Session

from orchestrator.db.job_tables import JobRow
from orchestrator.issues.parts import Subject, erase_issues, write_issues
from orchestrator.lifecycle.events import EventDraft, record
from workers.contract.issues import FileRole, FoundIssues, storable
from workers.contract.rows import RowIssue

MAX_EVENTS: Final = 100
"""Issues among the events of a job; the last event says where all are."""


def report_path(job_id: str) -> str:
    """The path of a job's report."""
    return f"/v1/fine_tuning/jobs/{job_id}/x/issues"


def whole_report(job_id: str, count: int) -> str:
    """A sentence for the end of the job's error: how many issues there are, and where."""
    many = "The 1 problem is" if count == 1 else f"All {count:,} problems are"
    return f"{many} in GET {report_path(job_id)} (orchard issues {job_id})."


def record_issues(session: Session, job: JobRow, found: FoundIssues, now: datetime) -> None:
    """Write the report and its events, in the transaction that ends the job and before the end, whose event is last.

    A report of an earlier attempt is replaced. End the job with an error that says `whole_report`. If the end turns
    out stale, roll the transaction back.
    """
    erase_issues(session, job.id)
    count = 0
    for role in FileRole:
        file_id = _file_id(job, role)
        if file_id is not None and found.get(role):
            count = write_issues(session, Subject(job.id, job.tenant_id, file_id, role), found[role], count)
    values = update(JobRow).where(JobRow.id == job.id).values(issue_count=count)
    session.execute(values.execution_options(synchronize_session=False))
    for event in issue_events(job, found, count):
        record(session, job.tenant_id, job.id, event, now)


def issue_events(job: JobRow, found: FoundIssues, count: int) -> list[EventDraft]:
    """An event for each of the first issues."""
    events = [_event(job, role, issue) for role, issue in _first(found)]
    if count > len(events):
        where = f"{count - len(events):,} more problems are in GET {report_path(job.id)}"
        events.append(EventDraft(where, level="error"))
    return events


def _first(found: FoundIssues) -> Iterator[tuple[FileRole, RowIssue]]:
    left = MAX_EVENTS
    for role in FileRole:
        for issue in found.get(role, ())[:left]:
            yield role, issue
            left -= 1


def _event(job: JobRow, role: FileRole, issue: RowIssue) -> EventDraft:
    told = storable(issue)
    where = "Validation file, line" if role is FileRole.VALIDATION else "Line"
    data = told.model_dump(mode="json") | {"file": role, "file_id": _file_id(job, role)}
    return EventDraft(f"{where} {told.line}: {told.message}", level="error", data=data)


def _file_id(job: JobRow, role: FileRole) -> str | None:
    return job.training_file_id if role is FileRole.TRAINING else job.validation_file_id

"""What a job reports that ends over its files, wherever they were found bad: one function writes it."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from orchestrator.db.job_tables import JobRow
from orchestrator.db.tables import FileRow
from orchestrator.issues.parts import Subject, erase_issues, write_issues
from orchestrator.lifecycle.events import EventDraft, record
from orchestrator.lifecycle.retry_policy import RetryDecision
from orchestrator.lifecycle.transition import JobRef, transition
from workers.contract.files import Container
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


def carry_out(session: Session, job: JobRow, decision: RetryDecision, now: datetime) -> JobRef | None:
    """Make the transition, with the report of what ends the job. None: stale, and the transaction is rolled back."""
    if any(decision.issues.values()):
        record_issues(session, job, decision.issues, now)
    moved = transition(session, JobRef.of(job), decision.to, decision.event, now=now, **decision.changes)
    if moved is None:
        session.rollback()
    return moved


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
    for event in issue_events(job, found, count, _places(session, job)):
        record(session, job.tenant_id, job.id, event, now)


def issue_events(job: JobRow, found: FoundIssues, count: int, places: Mapping[str | None, str]) -> list[EventDraft]:
    """An event for each of the first issues. `places`: what the numbers of rows count, by file."""
    events = [_event(job, role, issue, places) for role, issue in _first(found)]
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


def _event(job: JobRow, role: FileRole, issue: RowIssue, places: Mapping[str | None, str]) -> EventDraft:
    told, file_id = storable(issue), _file_id(job, role)
    place = places.get(file_id, Container.JSONL.place)
    where = f"Validation file, {place}" if role is FileRole.VALIDATION else place.title()
    data = told.model_dump(mode="json") | {"file": role, "file_id": file_id}
    return EventDraft(f"{where} {told.line}: {told.message}", level="error", data=data)


def _places(session: Session, job: JobRow) -> dict[str | None, str]:
    of_job = FileRow.id.in_([file_id for role in FileRole if (file_id := _file_id(job, role)) is not None])
    rows = session.execute(select(FileRow.id, FileRow.container).where(of_job))
    return {file_id: Container(container).place for file_id, container in rows}


def _file_id(job: JobRow, role: FileRole) -> str | None:
    return job.training_file_id if role is FileRole.TRAINING else job.validation_file_id

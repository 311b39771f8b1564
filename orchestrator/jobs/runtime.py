"""How long a job has held seats. The attempts are the books: every one counts from its host's taking it to its end."""

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from orchestrator.db.job_tables import AttemptRow
from orchestrator.jobs.transition import JobRef
from workers.contract.reports import ExitClass


def start_clock(session: Session, job: JobRef, now: datetime) -> None:
    """The host has taken the job's attempt: from now on it spends `max_runtime_s`."""
    waiting = (AttemptRow.job_id == job.id, AttemptRow.number == job.attempt, AttemptRow.attached_at.is_(None))
    session.execute(update(AttemptRow).where(*waiting).values(attached_at=now))


def seated_s(session: Session, job_id: str, now: datetime) -> float:
    """Seconds that all attempts of a job have held seats, a live one up to `now`.

    One that was lost without a word counts as long as it held its lease: that nobody looked for it sooner is ours.
    """
    taken = (AttemptRow.job_id == job_id, AttemptRow.attached_at.is_not(None))
    return sum(_span_s(attempt, now) for attempt in session.scalars(select(AttemptRow).where(*taken)))


def _span_s(attempt: AttemptRow, now: datetime) -> float:
    began, ended = attempt.attached_at, attempt.ended_at or now
    if attempt.exit_class == ExitClass.INFRA:
        ended = min(ended, attempt.lease_until)
    return 0.0 if began is None else max((ended - began).total_seconds(), 0.0)

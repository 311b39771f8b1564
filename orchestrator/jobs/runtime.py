"""How long a job has held seats. The attempts are the books: every one counts from its host's taking it to its end."""

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from orchestrator.db.job_tables import AttemptRow
from orchestrator.jobs.transition import JobRef


def start_clock(session: Session, job: JobRef, now: datetime) -> None:
    """The host has taken the job's attempt: from now on it spends `max_runtime_s`."""
    waiting = (AttemptRow.job_id == job.id, AttemptRow.number == job.attempt, AttemptRow.attached_at.is_(None))
    session.execute(update(AttemptRow).where(*waiting).values(attached_at=now))


def seated_s(session: Session, job_id: str, now: datetime) -> float:
    """Seconds that all attempts of a job have held seats, a live one up to `now`."""
    taken = (AttemptRow.job_id == job_id, AttemptRow.attached_at.is_not(None))
    spans = session.execute(select(AttemptRow.attached_at, AttemptRow.ended_at).where(*taken))
    return sum(((ended or now) - attached).total_seconds() for attached, ended in spans if attached is not None)

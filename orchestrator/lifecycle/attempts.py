"""How long a job has held seats. The attempts are the books: every one counts from its host's taking it to its end."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from orchestrator.db.job_tables import AttemptRow, JobRow
from orchestrator.lifecycle.retry_policy import AttemptEnd, RetryState, after_attempt
from orchestrator.lifecycle.transition import JobRef, transition
from orchestrator.usage.meter import stop_meter
from workers.contract.reports import ExitClass


def start_clock(session: Session, job: JobRef, now: datetime) -> None:
    """The host has taken the job's attempt: from now on it spends `max_runtime_s`."""
    waiting = (AttemptRow.job_id == job.id, AttemptRow.number == job.attempt, AttemptRow.attached_at.is_(None))
    session.execute(update(AttemptRow).where(*waiting).values(attached_at=now))


def occupied_s(session: Session, job_id: str, now: datetime) -> float:
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


@dataclass(frozen=True)
class Seated:
    """A job row and the reference under which it may be written."""

    row: JobRow
    ref: JobRef

    @property
    def key(self) -> tuple[str, int]:
        """Job and number of the attempt."""
        return self.ref.id, self.ref.attempt


def end_attempt(session: Session, seated: Seated, end: AttemptEnd, now: datetime) -> bool:
    """End the live attempt of a job and move the job on. False: somebody else did already."""
    decision = after_attempt(RetryState.of(seated.row), end, now)
    if not transition(session, seated.ref, decision.to, decision.event, now=now, **decision.changes):
        return False
    close_attempt(session, seated.ref, end.exit_class, end.message, now)
    return True


def close_attempt(session: Session, job: JobRef, exit_class: ExitClass, message: str | None, now: datetime) -> None:
    """Give the seat back in the books."""
    live = (AttemptRow.job_id == job.id, AttemptRow.number == job.attempt, AttemptRow.ended_at.is_(None))
    session.execute(update(AttemptRow).where(*live).values(ended_at=now, exit_class=exit_class, message=message))
    stop_meter(session, job.id, job.attempt, exit_class, now)

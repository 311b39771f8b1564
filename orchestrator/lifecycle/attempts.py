"""How long a job has held seats: the sum of its attempts, each from its attach to its end."""

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
    """The host has accepted the attempt: from now on it counts toward `max_runtime_s`."""
    waiting = (AttemptRow.job_id == job.id, AttemptRow.number == job.attempt, AttemptRow.attached_at.is_(None))
    session.execute(update(AttemptRow).where(*waiting).values(attached_at=now))


def occupied_s(session: Session, job_id: str, now: datetime) -> float:
    """Seconds that all attempts of a job have held seats; a live attempt counts up to `now`.

    An attempt whose host was lost counts until its lease expired: later detection is not charged to the tenant.
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
    """A job row and the reference that guards writes to it."""

    row: JobRow
    ref: JobRef

    @property
    def key(self) -> tuple[str, int]:
        """Job id and attempt number."""
        return self.ref.id, self.ref.attempt


def end_attempt(session: Session, seated: Seated, end: AttemptEnd, now: datetime) -> bool:
    """End the live attempt of a job and advance the job. False: another process already did."""
    decision = after_attempt(RetryState.of(seated.row), end, now)
    if not transition(session, seated.ref, decision.to, decision.event, now=now, **decision.changes):
        return False
    close_attempt(session, seated.ref, end.exit_class, end.message, now)
    return True


def close_attempt(session: Session, job: JobRef, exit_class: ExitClass, message: str | None, now: datetime) -> None:
    """Free the seat in the database."""
    live = (AttemptRow.job_id == job.id, AttemptRow.number == job.attempt, AttemptRow.ended_at.is_(None))
    session.execute(update(AttemptRow).where(*live).values(ended_at=now, exit_class=exit_class, message=message))
    stop_meter(session, job.id, job.attempt, exit_class, now)

"""Deadlines: no state lasts forever. Backoffs end, and a state past its deadline is acted on:

| state | at its deadline |
|---|---|
| VALIDATING, QUEUED, PAUSED | its owner is told that it still waits, and for what; it holds no resources |
| BACKOFF | is queued again, as at `not_before` |
| ADMITTED | the attempt fails: its host never accepted it |
| STARTING | STOPPING(stuck); then the attempt fails |
| RUNNING | `max_runtime_s` and a grace are over: STOPPING(runtime); then the job fails |
| STOPPING | its host ignores the request, so it is marked for killing; its end moves the job |
| PUBLISHING | the job fails if registration has not begun; otherwise a version may exist, and publishing continues |
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from orchestrator.db.database import Database
from orchestrator.db.host_states import LIVE, HostState
from orchestrator.db.job_tables import AttemptRow, JobRow
from orchestrator.db.states import DEADLINE_S, Desired, JobState, StopReason
from orchestrator.db.tables import HostRow
from orchestrator.lifecycle.attempts import Seated, end_attempt
from orchestrator.lifecycle.encoded import waiting_place
from orchestrator.lifecycle.events import EventDraft, record
from orchestrator.lifecycle.retry_policy import AttemptEnd, failed
from orchestrator.lifecycle.transition import JobRef, amend, transition
from orchestrator.steps.step import Counts
from workers.contract.errors import ErrorCode
from workers.contract.failpoints import failpoint
from workers.contract.reports import ExitClass


@dataclass(frozen=True)
class EnforceDeadlines:
    """Acts on deadlines. Other steps pass its changes to hosts."""

    db: Database

    def run_once(self, now: datetime) -> Counts:
        """Requeue jobs whose backoff is over; act on states past their deadline."""
        counts = Counts()
        with self.db.read() as session:
            live = select(JobRow).where(JobRow.finished_at.is_(None))
            rested = session.scalars(live.where(JobRow.state == JobState.BACKOFF, JobRow.not_before <= now)).all()
            late = session.scalars(live.where(JobRow.state != JobState.BACKOFF, JobRow.state_deadline < now)).all()
        for row in rested:
            with self.db.write() as session:
                again = _requeue(session, row, now)
            failpoint("deadlines.moved")
            counts["requeued" if again else "stale"] += 1
        for row in late:
            with self.db.write() as session:
                done = _act(session, row, now)
            counts["overdue" if done else "stale"] += 1
        return counts


def _requeue(session: Session, row: JobRow, now: datetime) -> bool:
    to, message = waiting_place(session, row, "Its pause is over")
    return transition(session, JobRef.of(row), to, EventDraft(message), now=now) is not None


def _act(session: Session, row: JobRow, now: datetime) -> bool:
    return _ACTS[JobState(row.state)](session, row, now)


def _validate_on(session: Session, row: JobRow, now: datetime) -> bool:
    return _go_on(session, row, "Its files are still waiting to be validated and encoded", now)


def _wait_on(session: Session, row: JobRow, now: datetime) -> bool:
    return _go_on(session, row, f"Still in the queue: {row.queue_reason or 'no seat was free'}", now)


def _rest_on(session: Session, row: JobRow, now: datetime) -> bool:
    suspended = row.desired == Desired.SUSPEND
    until = "suspended, until the operator ends it" if suspended else "paused, until you resume or cancel it"
    return _go_on(session, row, f"Still {until}", now)


def _never_taken(session: Session, row: JobRow, now: datetime) -> bool:
    end = AttemptEnd(ExitClass.INFRA, ErrorCode.HOST_LOST, f"Its host did not accept it {_in_time(row)}.")
    return end_attempt(session, Seated(row, JobRef.of(row)), end, now)


def _never_started(session: Session, row: JobRow, now: datetime) -> bool:
    return _stop(
        session, row, StopReason.STUCK, f"Its data was not prepared {_in_time(row)}; stopping this attempt", now
    )


def _ran_over(session: Session, row: JobRow, now: datetime) -> bool:
    return _stop(session, row, StopReason.RUNTIME, "max_runtime_s is used up, stopping", now)


def _go_on(session: Session, row: JobRow, message: str, now: datetime) -> bool:
    """Tell the owner and extend the deadline by its full length."""
    again = now + timedelta(seconds=DEADLINE_S[JobState(row.state)])
    if not amend(session, JobRef.of(row), state_deadline=again):
        return False
    record(session, row.tenant_id, row.id, EventDraft(message, level="warn"), now)
    return True


def _stop(session: Session, row: JobRow, reason: StopReason, message: str, now: datetime) -> bool:
    event = EventDraft(message, level="warn")
    return transition(session, JobRef.of(row), JobState.STOPPING, event, now=now, stop_reason=reason) is not None


def _end_host(session: Session, row: JobRow, now: datetime) -> bool:
    """The job may move only once its seat is known to be free, so its host is killed, and all its seats end."""
    if not _go_on(session, row, "Its host did not free the seat and is being stopped", now):
        return False
    holder = select(AttemptRow.host_id).where(AttemptRow.job_id == row.id, AttemptRow.number == row.attempt)
    unwanted = (HostRow.id == holder.scalar_subquery(), HostRow.state.in_(LIVE))
    why = f"The host did not free a seat within {DEADLINE_S[JobState.STOPPING]} s and was stopped."
    session.execute(update(HostRow).where(*unwanted).values(state=HostState.STOPPING, error=why))
    return True


def _give_up_publishing(session: Session, row: JobRow, now: datetime) -> bool:
    decision = failed(ErrorCode.INTERNAL, f"It did not leave state {row.state} {_in_time(row)}.")
    unasked = (JobRow.registering_at.is_(None),)
    moved = transition(
        session, JobRef.of(row), decision.to, decision.event, now=now, only_if=unasked, **decision.changes
    )
    return moved is not None or _go_on(session, row, "Still not published; the adapter is safe in storage", now)


def _in_time(row: JobRow) -> str:
    return f"within {DEADLINE_S[JobState(row.state)]} s"


_ACTS: Final[Mapping[JobState, Callable[[Session, JobRow, datetime], bool]]] = {
    JobState.VALIDATING: _validate_on,
    JobState.QUEUED: _wait_on,
    JobState.PAUSED: _rest_on,
    JobState.ADMITTED: _never_taken,
    JobState.STARTING: _never_started,
    JobState.RUNNING: _ran_over,
    JobState.STOPPING: _end_host,
    JobState.PUBLISHING: _give_up_publishing,
}

"""Sweeping: states that outlived their deadline, and pauses that are over."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.jobs.ends import AttemptEnd, failed
from orchestrator.jobs.events import EventDraft
from orchestrator.jobs.states import SEATED, JobState
from orchestrator.jobs.transition import JobRef, transition
from orchestrator.loops.counts import Counts
from orchestrator.loops.reports import Seated, end_attempt
from workers.contract.errors import ErrorCode
from workers.contract.failpoints import failpoint
from workers.contract.reports import ExitClass


@dataclass(frozen=True)
class Sweep:
    """Nothing stays where it is for ever."""

    db: Database

    def run_once(self, now: datetime) -> Counts:
        """Requeue what has paused long enough; end what is stuck."""
        counts = Counts()
        with self.db.read() as session:
            live = select(JobRow).where(JobRow.finished_at.is_(None))
            over = session.scalars(live.where(JobRow.state == JobState.BACKOFF, JobRow.not_before <= now)).all()
            late = session.scalars(live.where(JobRow.state != JobState.BACKOFF, JobRow.state_deadline < now)).all()
        for row in over:
            with self.db.write() as session:
                again = transition(session, JobRef.of(row), JobState.QUEUED, EventDraft("Back in the queue"), now=now)
            failpoint("sweep.moved")
            counts["requeued" if again else "stale"] += 1
        for row in late:
            counts["overdue" if self._end(row, now) else "stale"] += 1
        return counts

    def _end(self, row: JobRow, now: datetime) -> bool:
        """A seated job loses its attempt and is tried again; any other fails, with the state it was stuck in."""
        ref = JobRef.of(row)
        message = f"It stayed in state {row.state} beyond its deadline."
        with self.db.write() as session:
            if ref.state in SEATED:
                end = AttemptEnd(ExitClass.INFRA, ErrorCode.HOST_LOST, message)
                return end_attempt(session, Seated(row, ref), end, now)
            verdict = failed(ErrorCode.INTERNAL, message)
            return transition(session, ref, JobState.FAILED, verdict.event, now=now, **verdict.changes) is not None

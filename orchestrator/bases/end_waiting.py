"""Ends the jobs that wait for a base which cannot be used: once, with the reason, and without a host."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Select, exists, select

from orchestrator.bases.marks import marks, same
from orchestrator.catalogue.entries import Catalogue
from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import Desired, JobState
from orchestrator.db.tables import UnusableBaseRow
from orchestrator.lifecycle.retry_policy import failed
from orchestrator.lifecycle.transition import JobRef, transition
from orchestrator.steps.step import Counts
from workers.contract.failpoints import failpoint

AT_ONCE: Final = 100  # jobs of a base in a pass, so that a long line does not hold up the rest of it


@dataclass(frozen=True)
class EndWaiting:
    """QUEUED or BACKOFF -> FAILED, for jobs of a marked base. Paused ones wait on; the fault may be gone by then."""

    db: Database
    catalogue: Catalogue

    def run_once(self, now: datetime) -> Counts:
        """End the first jobs of each marked base."""
        counts = Counts()
        with self.db.read() as session:
            found = [(mark, row) for mark in marks(session, self.catalogue) for row in session.scalars(_waiting(mark))]
        for mark, row in found:
            decision = failed(mark.code, mark.message)
            still = exists().where(*same(UnusableBaseRow, JobRow))
            with self.db.write() as session:
                moved = transition(
                    session, JobRef.of(row), decision.to, decision.event, now=now, only_if=(still,), **decision.changes
                )
            failpoint("bases.ended_waiting")
            counts["ended" if moved else "stale"] += 1
        return counts


def _waiting(mark: UnusableBaseRow) -> Select[JobRow]:
    return (
        select(JobRow)
        .where(
            JobRow.finished_at.is_(None),
            JobRow.state.in_((JobState.QUEUED, JobState.BACKOFF)),
            JobRow.desired == Desired.RUN,
            *same(mark, JobRow),
        )
        .order_by(JobRow.seq)
        .limit(AT_ONCE)
    )

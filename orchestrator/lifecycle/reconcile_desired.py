"""Heeding: what owners ask for moves their jobs; seated ones are then stopped by `orchestrator.hosts.seats`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select

from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import Desired, JobState, StopReason
from orchestrator.lifecycle.events import EventDraft
from orchestrator.lifecycle.transition import JobRef, transition
from orchestrator.steps.step import Counts

S = JobState


@dataclass(frozen=True)
class Move:
    """Where a wish leads."""

    to: JobState
    message: str
    reason: StopReason | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """Columns written with the move."""
        return {} if self.reason is None else {"stop_reason": self.reason}


_STOP: Final = Move(S.STOPPING, "Cancel requested, stopping after this step", StopReason.CANCEL)
_LEAVE: Final = Move(S.STOPPING, "Pause requested, saving a checkpoint after this step", StopReason.PAUSE)
_END: Final = Move(S.CANCELLED, "Fine-tuning job cancelled")
_REST: Final = Move(S.PAUSED, "Paused")

MOVES: Final[Mapping[Desired, Mapping[JobState, Move]]] = {
    Desired.CANCEL: {
        **dict.fromkeys((S.VALIDATING, S.QUEUED, S.BACKOFF, S.PAUSED, S.PUBLISHING), _END),
        **dict.fromkeys((S.ADMITTED, S.STARTING, S.RUNNING), _STOP),
    },
    Desired.PAUSE: {
        **dict.fromkeys((S.QUEUED, S.BACKOFF), _REST),
        **dict.fromkeys((S.ADMITTED, S.STARTING, S.RUNNING), _LEAVE),
    },
    Desired.RUN: {S.PAUSED: Move(S.QUEUED, "Resumed, moving job to queued state")},
}
"""A job in a state that a wish does not name stays there: VALIDATING is paused once it is queued, PUBLISHING never,
STOPPING has its reason already. The wish to cancel is only ever written before the registry was asked for a version
(`orchestrator.jobs.cancel`), so PUBLISHING may end by it."""


@dataclass(frozen=True)
class ReconcileDesired:
    """Moves jobs towards what is desired of them."""

    db: Database

    def run_once(self, now: datetime) -> Counts:
        """Move every job whose state is not what its owner wants."""
        live = select(JobRow).where(JobRow.finished_at.is_(None))
        with self.db.read() as session:  # a query for each wish, since together they would look at every live job
            contrary = [live.where(JobRow.desired == wish, JobRow.state.in_(moves)) for wish, moves in MOVES.items()]
            rows = [row for query in contrary for row in session.scalars(query)]
        counts = Counts()
        for row in rows:
            move = MOVES[Desired(row.desired)][JobState(row.state)]
            with self.db.write() as session:
                event = EventDraft(move.message)
                moved = transition(session, JobRef.of(row), move.to, event, now=now, **move.changes)
            counts[str(move.to) if moved else "stale"] += 1
        return counts

"""Moves jobs to their desired states; `orchestrator.hosts.seats` then stops seated ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select

from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import Desired, JobState, StopReason
from orchestrator.lifecycle.encoded import waiting_place
from orchestrator.lifecycle.events import EventDraft
from orchestrator.lifecycle.transition import JobRef, transition
from orchestrator.steps.step import Counts

S = JobState


@dataclass(frozen=True)
class Move:
    """The transition that a desired state triggers."""

    to: JobState
    message: str
    reason: StopReason | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """Columns written with the move."""
        return {} if self.reason is None else {"stop_reason": self.reason}


_STOP: Final = Move(S.STOPPING, "Cancel requested, stopping after this step", StopReason.CANCEL)
_LEAVE: Final = Move(S.STOPPING, "Pause requested, saving a checkpoint after this step", StopReason.PAUSE)
_YIELD: Final = Move(
    S.STOPPING, "The operator suspended the tenant, saving a checkpoint after this step", StopReason.SUSPEND
)
_WAIT: Final = Move(S.PAUSED, "The operator suspended the tenant; the job rests")
_END: Final = Move(S.CANCELLED, "Fine-tuning job cancelled")
_REST: Final = Move(S.PAUSED, "Paused")

MOVES: Final[Mapping[Desired, Mapping[JobState, Move]]] = {
    Desired.CANCEL: {
        **dict.fromkeys((S.VALIDATING, S.QUEUED, S.BACKOFF, S.PAUSED, S.PUBLISHING), _END),
        **dict.fromkeys((S.ADMITTED, S.STARTING, S.RUNNING), _STOP),
    },
    Desired.PAUSE: {
        **dict.fromkeys((S.VALIDATING, S.QUEUED, S.BACKOFF), _REST),
        **dict.fromkeys((S.ADMITTED, S.STARTING, S.RUNNING), _LEAVE),
    },
    Desired.SUSPEND: {
        **dict.fromkeys((S.VALIDATING, S.QUEUED, S.BACKOFF), _WAIT),
        **dict.fromkeys((S.ADMITTED, S.STARTING, S.RUNNING), _YIELD),
    },
    Desired.RUN: {S.PAUSED: Move(S.QUEUED, "Resumed")},
}
"""A job in any other state stays there: PUBLISHING is never paused, and STOPPING already has a reason. One that resumes
without encoded rows is validated first (`lifecycle.encoded`). `orchestrator.lifecycle.desired.cancel` writes CANCEL
only before registration begins, so it may end PUBLISHING."""


@dataclass(frozen=True)
class ReconcileDesired:
    """Moves jobs to their desired states."""

    db: Database

    def run_once(self, now: datetime) -> Counts:
        """Move every job whose state is not what its owner wants."""
        live = select(JobRow).where(JobRow.finished_at.is_(None))
        with self.db.read() as session:  # one query each: a combined one would scan every live job
            contrary = [
                live.where(JobRow.desired == desired, JobRow.state.in_(moves)) for desired, moves in MOVES.items()
            ]
            rows = [row for query in contrary for row in session.scalars(query)]
        counts = Counts()
        for row in rows:
            move = MOVES[Desired(row.desired)][JobState(row.state)]
            with self.db.write() as session:
                to, message = move.to, move.message
                if to is S.QUEUED:
                    to, message = waiting_place(session, row, "Resumed")
                moved = transition(session, JobRef.of(row), to, EventDraft(message), now=now, **move.changes)
            counts[str(to) if moved else "stale"] += 1
        return counts

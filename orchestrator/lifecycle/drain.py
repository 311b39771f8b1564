"""A planned stop of the whole service: seats are saved and given up, nothing is placed any more, hosts end."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select, update

from orchestrator.db.database import Database
from orchestrator.db.host_states import HOLDS_DEVICE, HostState
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import SEATED, JobState, StopReason
from orchestrator.db.tables import HostRow
from orchestrator.lifecycle.attempts import close_attempt
from orchestrator.lifecycle.events import EventDraft
from orchestrator.lifecycle.transition import JobRef, transition
from orchestrator.steps.step import Counts
from workers.contract.reports import ExitClass

LOOK_S: Final = 0.1
VERIFY_FOR: Final = timedelta(seconds=30)
"""For a host without seats to look at its base a last time."""
_LEAVE: Final = "The service is being stopped, saving a checkpoint after this step"
_RETURN: Final = "The service is being stopped; the job returns to the queue"


@dataclass(frozen=True)
class Shutdown:
    """A planned stop: `requested` by the process, `done` once no job holds a seat and no host lives."""

    requested: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)

    def wait(self, leads: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until it is done. False: it took too long, or another process acts now and decides for itself."""
        steps = int(timeout_s / LOOK_S)
        return any(self.done.wait(LOOK_S) or not leads() for _ in range(steps)) and self.done.is_set()


@dataclass(frozen=True)
class Drain:
    """Once a planned stop is requested: has every seat saved and vacated, then ends the hosts. No budget pays for it.

    `orchestrator.hosts.seats` tells the hosts, and their reports end the attempts, as for a pause.
    """

    db: Database
    shutdown: Shutdown

    def run_once(self, now: datetime) -> Counts:
        """Move the jobs that still have to be told."""
        counts = Counts()
        if not self.shutdown.requested.is_set():
            return counts
        with self.db.read() as session:
            seated = list(session.scalars(select(JobRow).where(JobRow.finished_at.is_(None), JobRow.state.in_(SEATED))))
        for row in seated:
            counts["draining"] += self._tell(row, now)
        if not seated and not self._end_hosts(now):
            self.shutdown.done.set()
        return +counts

    def _end_hosts(self, now: datetime) -> int:
        """End every host, or the next start would take its row for a warm one. Returns how many are left."""
        ready = (HostRow.state == HostState.READY, {"stop_by": now + VERIFY_FOR})
        loading = (HostRow.state == HostState.STARTING, {"stop_by": None})
        with self.db.write() as session:
            for state, changes in (ready, loading):
                values = {"state": HostState.STOPPING, "error": "The service was stopped.", **changes}
                session.execute(update(HostRow).where(state).values(**values))
            held = select(func.count()).where(HostRow.state.in_(HOLDS_DEVICE))
            return session.scalar(held) or 0

    def _tell(self, row: JobRow, now: datetime) -> bool:
        ref = JobRef.of(row)
        if ref.state is JobState.STOPPING:
            return False
        with self.db.write() as session:
            if ref.state is JobState.ADMITTED:  # no host has it yet
                event = EventDraft(_RETURN)
                if not transition(session, ref, JobState.BACKOFF, event, now=now, not_before=now):
                    return False
                close_attempt(session, ref, ExitClass.PREEMPTED, None, now)
                return True
            event = EventDraft(_LEAVE)
            reason = StopReason.SHUTDOWN
            return transition(session, ref, JobState.STOPPING, event, now=now, stop_reason=reason) is not None

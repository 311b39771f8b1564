"""Scheduling: load a snapshot, plan, apply."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from orchestrator.scheduling.actions import Wait
from orchestrator.scheduling.apply import Applier
from orchestrator.scheduling.load import load_snapshot
from orchestrator.scheduling.plan import plan
from orchestrator.steps.step import Counts
from workers.contract.failpoints import failpoint


@dataclass(frozen=True)
class Schedule:
    """QUEUED -> ADMITTED; starting and retiring hosts, and keeping them free."""

    applier: Applier
    host_idle_s: int
    max_bypass_s: int
    rests: Callable[[], bool] = lambda: False
    """Whether nothing is to be placed, because the service is being stopped."""

    def run_once(self, now: datetime) -> Counts:
        """One pass of the planner. Stale actions are dropped; the next pass plans again."""
        if self.rests():
            return Counts()
        with self.applier.db.read() as session:
            snapshot = load_snapshot(session, self.applier.catalogue, self.host_idle_s, self.max_bypass_s, now)
        counts = Counts()
        actions = plan(snapshot, now)
        for action in actions:
            if not isinstance(action, Wait):
                applied = self.applier.apply(action, now)
                failpoint("schedule.applied")
                counts[type(action).__name__ if applied else "stale"] += 1
        if waits := [action for action in actions if isinstance(action, Wait)]:
            counts["Wait"] += self.applier.explain(waits)
        return counts

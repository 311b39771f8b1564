"""The control loop: its steps in order, and the thread that repeats a step until told to stop."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import structlog

from orchestrator.loops.counts import Counts

log = structlog.get_logger()


class Step(Protocol):
    """One small piece of work that may be repeated at will."""

    def run_once(self, now: datetime) -> Counts:
        """Do what there is to do, and say how much it was."""


@dataclass(frozen=True)
class Sequenced:
    """Several steps as one, in order. A step that raises does not keep the others from running."""

    steps: Sequence[Step]

    def run_once(self, now: datetime) -> Counts:
        """Run every step. Errors are logged with their trace and counted."""
        counts = Counts()
        for step in self.steps:
            try:
                counts += step.run_once(now)
            except Exception:  # a bug or outage in one step must not stop the others
                log.exception("step failed", step=type(step).__name__)
                counts["errors"] += 1
        return counts


def run_until(
    stop: threading.Event, step: Step, interval_s: float, clock: Callable[[], datetime] | None = None
) -> None:
    """Repeat `step` until `stop` is set, pausing `interval_s` between passes."""
    now = clock or (lambda: datetime.now(UTC))
    while not stop.is_set():
        began = time.monotonic()
        counts = step.run_once(now())
        interesting = {name: count for name, count in counts.items() if name != "polled"}
        if interesting:
            log.debug("pass", seconds=round(time.monotonic() - began, 3), **interesting)
        stop.wait(interval_s)

"""The control loop: its steps in order, and the thread that repeats a step until told to stop."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

import structlog

from orchestrator.leases.role import RoleLost
from orchestrator.loops.counts import Counts
from orchestrator.outages import outage

MAX_PAUSE_S: Final = 5.0
"""Between two passes of a loop that meets an outage."""
BRISK_S: Final = 0.05
"""After a pass that moved a job onward; then twice as long each time, until the usual pause is reached again."""
ONWARD: Final = frozenset({"queued", "StartHost", "started", "Admit", "attached"})
"""What a pass counts when a job came nearer to its first step."""
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
        """Run every step. Errors are logged and counted. Raises: RoleLost, after which no step may go on."""
        counts = Counts()
        for step in self.steps:
            name = type(step).__name__
            try:
                counts += step.run_once(now)
            except RoleLost:
                raise
            except Exception as error:  # noqa: BLE001  # a bug or outage in one step must not stop the others
                counts[tell(error, name)] += 1
        return counts


def tell(error: Exception, step: str, **about: str) -> str:
    """Log what ended a step, and say under what to count it. An outage is one line; anything else shows its trace."""
    if outage(error) is None:
        log.error("step failed", step=step, **about, exc_info=error)
        return "errors"
    log.warning("outage, step repeated later", step=step, **about, error=f"{type(error).__name__}: {error}"[:200])
    return "outages"


def run_until(
    stop: threading.Event, step: Step, interval_s: float, clock: Callable[[], datetime] | None = None
) -> None:
    """Repeat `step` until `stop` is set, pausing `interval_s` between passes; longer in an outage, and at first much
    shorter where a pass brought a job nearer to its first step: somebody waits for the next one.
    """
    now = clock or (lambda: datetime.now(UTC))
    pause_s = interval_s
    while not stop.is_set():
        began = time.monotonic()
        try:
            counts = step.run_once(now())
        except Exception as error:  # noqa: BLE001  # the clock's database, most likely
            counts = Counts({tell(error, type(step).__name__): 1})
        interesting = {name: count for name, count in counts.items() if name != "polled"}
        if interesting:
            log.debug("pass", seconds=round(time.monotonic() - began, 3), **interesting)
        pause_s = next_pause_s(counts, pause_s, interval_s)
        stop.wait(pause_s)


def next_pause_s(counts: Counts, last_s: float, interval_s: float) -> float:
    """The pause after a pass that did `counts`, when the one before it was `last_s`. Seconds."""
    if counts["outages"]:
        return min(2 * max(last_s, interval_s), max(MAX_PAUSE_S, interval_s))
    if ONWARD & counts.keys():
        return min(BRISK_S, interval_s)
    return min(2 * last_s, interval_s)

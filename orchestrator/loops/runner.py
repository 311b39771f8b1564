"""Running loops: each repeats one step in a thread of its own until told to stop."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from orchestrator.steps.step import Counts, Step, log_step_error

MAX_PAUSE_S: Final = 5.0
"""Between two passes of a loop that meets an outage."""
FAST_POLL_S: Final = 0.05
"""After a pass that moved a job closer to its first step; it doubles each time up to the usual pause."""
PROGRESS_EVENTS: Final = frozenset(
    {"validated", "encoding", "encoded", "queued", "StartHost", "started", "Admit", "attached"}
)
"""What a pass counts when a job came closer to its first step."""
log = structlog.get_logger()


@dataclass(frozen=True)
class Loop:
    """A step, and the seconds between two passes of it."""

    name: str
    step: Step
    pause_s: float
    outlasts: bool = False
    """Whether it continues until all the others have ended."""
    wakes: str | None = None
    """The loop that goes on at once with what this one brought nearer to its first step."""


def run_loops(loops: Sequence[Loop], stop: threading.Event, clock: Callable[[], datetime] | None = None) -> bool:
    """Run each in a thread of its own until `stop` is set, by the machine's clock unless another is given. Those that
    outlast the others continue until these have ended.

    False: a loop ended by itself. The others are ended too, so that the supervisor restarts the whole process.
    """
    died: list[str] = []
    alone = threading.Event()
    bells = {loop.name: threading.Event() for loop in loops}

    def run(loop: Loop) -> None:
        until = alone if loop.outlasts else stop
        try:
            run_until(until, loop.step, loop.pause_s, clock, bells[loop.name], bells.get(loop.wakes or ""))
        finally:
            if not until.is_set():
                died.append(loop.name)
                log.error("loop died", loop=loop.name)
                stop.set()

    threads = {loop.name: threading.Thread(target=run, args=(loop,), name=loop.name) for loop in loops}
    for thread in threads.values():
        thread.start()
    stop.wait()
    _end([loop for loop in loops if not loop.outlasts], threads, bells)
    alone.set()
    _end([loop for loop in loops if loop.outlasts], threads, bells)
    return not died


def _end(loops: Sequence[Loop], threads: Mapping[str, threading.Thread], bells: Mapping[str, threading.Event]) -> None:
    """Wake the loops, which are told to end, and wait for their last pass."""
    for loop in loops:
        bells[loop.name].set()
    for loop in loops:
        threads[loop.name].join()


def run_until(
    stop: threading.Event,
    step: Step,
    interval_s: float,
    clock: Callable[[], datetime] | None = None,
    bell: threading.Event | None = None,
    next_bell: threading.Event | None = None,
) -> None:
    """Repeat `step` until `stop` is set, pausing `interval_s` between passes; longer in an outage, and at first much
    shorter where a pass brought a job nearer to its first step: somebody waits for the next one. `bell` ends a pause,
    and who sets `stop` rings it; a pass with progress rings `next_bell`.
    """
    now = clock or (lambda: datetime.now(UTC))
    bell = bell or stop
    pause_s = interval_s
    while not stop.is_set():
        began = time.monotonic()
        if bell is not stop:
            bell.clear()
        try:
            counts = step.run_once(now())
        except Exception as error:  # noqa: BLE001  # the clock's database, most likely
            counts = Counts({log_step_error(error, type(step).__name__): 1})
        interesting = {name: count for name, count in counts.items() if name != "polled"}
        if interesting:
            log.debug("pass", seconds=round(time.monotonic() - began, 3), **interesting)
        if next_bell is not None and PROGRESS_EVENTS & counts.keys():
            next_bell.set()
        pause_s = next_pause_s(counts, pause_s, interval_s)
        if bell is stop or not stop.is_set():  # one told to end while it ran may have missed the bell
            bell.wait(pause_s)


def next_pause_s(counts: Counts, last_s: float, interval_s: float) -> float:
    """The pause after a pass that did `counts`, when the one before it was `last_s`. Seconds."""
    if counts["outages"]:
        return min(2 * max(last_s, interval_s), max(MAX_PAUSE_S, interval_s))
    if PROGRESS_EVENTS & counts.keys():
        return min(FAST_POLL_S, interval_s)
    return min(2 * last_s, interval_s)

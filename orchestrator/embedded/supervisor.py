"""The supervisor: starts children, waits until they serve, and starts again those that die."""

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from orchestrator.embedded.child import Child, ChildFailed, ChildSpec
from orchestrator.embedded.process_registry import ProcessRegistry
from orchestrator.embedded.progress import Signs
from workers.contract.backoff import Backoff

LONGEST_PAUSE_S: Final = 30.0
BACKOFF: Final = Backoff(first_s=1.0, longest_s=LONGEST_PAUSE_S, jitter=0.0)
STEADY_S: Final = 60.0
"""A child that lived so long has recovered: its next death begins with the shortest pause again."""
POLL_S: Final = 0.1
LOOK_S: Final = 1.0
"""Between two looks at the signs of life, which walk the process tree of a machine that may be busy."""
TELL_S: Final = 10.0
TRY_AGAIN: Final = "nothing is lost: on a busy machine end other programs, then start it again with the same command"
log = structlog.get_logger(__name__)


@dataclass
class Watched:
    """A child under watch. `due` is when a dead one is started again."""

    child: Child
    started: float
    deaths: int = 0
    due: float | None = None


class Counts(NamedTuple):
    """What one pass did."""

    died: int
    restarted: int


class Supervisor:
    """Children by name, in order of start. Logs go to `home/logs/<name>.log`."""

    def __init__(self, home: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._home = home
        self._clock = clock
        self._watched: dict[str, Watched] = {}
        self.roll = ProcessRegistry(home)

    def start(self, specs: Iterable[ChildSpec]) -> None:
        """Start them all at once, without waiting."""
        for spec in specs:
            self._watched[spec.name] = Watched(self._spawn(spec), self._clock())
            self._enrol()

    def wait_ready(self, tell: Callable[[str], None] = lambda _: None) -> None:
        """Until every child serves, as long as it makes progress. `tell` hears now and then what is waited for.

        Raises: ChildFailed, with the end of the log of the one that does not.
        """
        for watched in self._watched.values():
            self._wait_for(watched.child, tell)

    def _wait_for(self, child: Child, tell: Callable[[str], None]) -> None:
        spec, began = child.spec, self._clock()
        signs, looked, changed, told = Signs.of(child.pid, child.log), began, began, began
        seen = signs
        while child.exit_code is not None or not spec.ready():
            if child.exit_code is not None:
                raise ChildFailed(_why(child, f"ended with code {child.exit_code} while starting"))
            now = self._clock()
            if now - looked >= LOOK_S:
                seen, looked = Signs.of(child.pid, child.log), now
                if seen.differ_from(signs):
                    signs, changed = seen, now
            if now - began > spec.ready_timeout_s:
                raise ChildFailed(_why(child, f"did not get ready within {spec.ready_timeout_s:g} s ({spec.awaits})"))
            if now - changed > spec.still_s:
                still = f"made no progress for {spec.still_s:g} s ({spec.awaits}; {seen})"
                raise ChildFailed(_why(child, still))
            if now - told >= TELL_S:
                tell(f"Waiting for {spec.name} for {now - began:.0f} s: {spec.awaits}. It is at work: {seen}.")
                told = now
            time.sleep(POLL_S)

    def run_once(self, now: float) -> Counts:
        """Notice deaths and start again those whose pause is over. `now` is on the supervisor's clock."""
        died = restarted = 0
        for name, watched in self._watched.items():
            if watched.due is None and watched.child.exit_code is not None:
                died += 1
                self._note_death(name, watched, now)
            if watched.due is not None and now >= watched.due:
                restarted += 1
                watched.child, watched.started, watched.due = self._spawn(watched.child.spec), now, None
                self._enrol()
        return Counts(died, restarted)

    def pid(self, name: str) -> int:
        """Process id of the child's latest run. Raises: KeyError."""
        return self._watched[name].child.pid

    def stop(self) -> None:
        """End every child, the last started first; those that share a grace use it up together."""
        children = [watched.child for watched in reversed(self._watched.values())]
        for child in children:
            if child.spec.stop_grace_s:
                child.terminate()
        for child in children:
            child.terminate()
            child.wait()
        self._watched.clear()

    def _spawn(self, spec: ChildSpec) -> Child:
        child = Child(spec, self._home / "logs" / f"{spec.name}.log")
        log.info("child_started", child=spec.name, pid=child.pid)
        return child

    def _note_death(self, name: str, watched: Watched, now: float) -> None:
        watched.child.wait()  # what it left of its process group would hold its ports
        watched.deaths = 1 if now - watched.started > STEADY_S else watched.deaths + 1
        pause = BACKOFF.pause_s(watched.deaths, 1.0)
        watched.due = now + pause
        log.warning("child_died", child=name, exit_code=watched.child.exit_code, restart_in_s=pause)

    def _enrol(self) -> None:
        with contextlib.suppress(OSError):  # a full disk must not stop the watch
            self.roll.write({name: watched.child.pid for name, watched in self._watched.items()})


def _why(child: Child, what: str) -> str:
    return f"{child.spec.name} {what}; {TRY_AGAIN}. The end of {child.log}:\n{child.last_lines()}"

"""The supervisor with small real processes: starting, restarting with a growing pause, ending all of them."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.embedded.child import ChildFailed, ChildSpec
from orchestrator.embedded.process_registry import MARK, ProcessRegistry
from orchestrator.embedded.progress import Signs
from orchestrator.embedded.supervisor import LONGEST_PAUSE_S, STEADY_S, Counts, Supervisor
from tests.builders.waiting import wait_until

SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path, clock=lambda: 0.0)
    yield supervisor
    supervisor.stop()


def python(name: str, code: str = SLEEP, **fields: object) -> ChildSpec:
    return ChildSpec(name, (sys.executable, "-c", code), lambda: True, **fields)  # type: ignore[arg-type]


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def kill(supervisor: Supervisor, name: str) -> None:
    pid = supervisor.pid(name)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not lives(pid), f"{name} is dead")


def test_a_dead_child_is_started_again_after_its_pause(supervisor: Supervisor) -> None:
    supervisor.start([python("a"), python("b")])
    first, neighbour = supervisor.pid("a"), supervisor.pid("b")
    assert supervisor.run_once(0.0) == Counts(0, 0)
    kill(supervisor, "a")
    assert supervisor.run_once(1.0) == Counts(died=1, restarted=0)
    assert supervisor.run_once(1.9) == Counts(0, 0)
    assert supervisor.run_once(2.0) == Counts(died=0, restarted=1)
    assert supervisor.pid("a") != first
    assert supervisor.pid("b") == neighbour
    assert lives(supervisor.pid("a"))


def test_the_pause_doubles_to_a_bound_and_a_steady_child_begins_anew(supervisor: Supervisor) -> None:
    supervisor.start([python("a")])
    now, pauses = 0.0, []
    for _ in range(7):
        kill(supervisor, "a")
        supervisor.run_once(now)
        pause = next(p for p in (1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_PAUSE_S) if supervisor.run_once(now + p).restarted)
        pauses.append(pause)
        now += pause
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    kill(supervisor, "a")
    now += STEADY_S + 1
    supervisor.run_once(now)
    assert supervisor.run_once(now + 1.0).restarted == 1


def test_a_child_that_ends_while_starting_is_named_with_its_last_words(supervisor: Supervisor) -> None:
    spec = ChildSpec("api", (sys.executable, "-c", "raise SystemExit('no such catalogue')"), lambda: False)
    supervisor.start([spec])
    with pytest.raises(ChildFailed, match=r"(?s)api ended with code 1 while starting.*no such catalogue"):
        supervisor.wait_ready()


BUSY = "import time\nwhile True: print('loading', flush=True); time.sleep(0.02)"


class Clock:
    """Time that passes in leaps: a minute between two looks at a log that grew."""

    def __init__(self, leap_s: float, log: Path | None = None) -> None:
        self.now, self.leap_s, self.log, self.size = 0.0, leap_s, log, 0

    def __call__(self) -> float:
        size = self.log.stat().st_size if self.log and self.log.exists() else 0
        if self.log is None or size > self.size:
            self.now, self.size = self.now + self.leap_s, size
        return self.now


def test_a_child_that_makes_progress_is_waited_for_and_said_what_for(tmp_path: Path) -> None:
    clock = Clock(60.0, tmp_path / "logs" / "ray.log")
    supervisor, told = Supervisor(tmp_path, clock), []
    spec = ChildSpec("ray", (sys.executable, "-c", BUSY), lambda: clock.now > 900, awaits="connections on port 1")
    supervisor.start([spec])
    try:
        supervisor.wait_ready(told.append)
    finally:
        supervisor.stop()
    assert clock.now > 5 * spec.still_s
    assert told
    assert all("Waiting for ray for" in line and "connections on port 1" in line for line in told), told


def test_a_child_that_does_nothing_more_is_given_up_with_what_to_do(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path, Clock(30.0))
    spec = ChildSpec("ray", (sys.executable, "-c", SLEEP), lambda: False, awaits="connections on port 1")
    supervisor.start([spec])
    try:
        with pytest.raises(ChildFailed, match=r"no progress for 120 s \(connections on port 1.*the same command"):
            supervisor.wait_ready()
    finally:
        supervisor.stop()


def test_even_progress_ends_at_half_an_hour(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path, Clock(60.0, tmp_path / "logs" / "ray.log"))
    supervisor.start([ChildSpec("ray", (sys.executable, "-c", BUSY), lambda: False)])
    try:
        with pytest.raises(ChildFailed, match="did not get ready within 1800 s"):
            supervisor.wait_ready()
    finally:
        supervisor.stop()


def test_computing_and_new_processes_are_progress_and_idling_is_none(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start([python("idle"), python("spinning", "while True: pass")])
    log = tmp_path / "none"
    idle, spinning = (Signs.of(supervisor.pid(name), log) for name in ("idle", "spinning"))
    wait_until(lambda: Signs.of(supervisor.pid("spinning"), log).differ_from(spinning), "it computed", 60)
    assert not Signs.of(supervisor.pid("idle"), log).differ_from(idle)
    assert Signs(1, {1: 0.0}).differ_from(Signs(0, {1: 0.0}))
    assert Signs(0, {1: 0.0, 2: 0.0}).differ_from(Signs(0, {1: 0.0}))
    assert not Signs(0, {1: 0.0}).differ_from(Signs(0, {1: 0.0, 2: 0.0}))
    assert Signs(0, {1: 3.0}).differ_from(Signs(0, {1: 0.0, 2: 50.0})), "what one that ended did hides nothing"


def test_stop_ends_a_child_that_ignores_sigterm_and_its_own_children(supervisor: Supervisor, tmp_path: Path) -> None:
    code = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"p = subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); print(p.pid, flush=True); time.sleep(600)"
    )
    supervisor.start([python("stubborn", code, stop_grace_s=0.2)])
    log = tmp_path / "logs" / "stubborn.log"
    grandchild = int(wait_until(lambda: log.read_text().strip(), "the grandchild is there"))
    child = supervisor.pid("stubborn")
    supervisor.stop()
    wait_until(lambda: not lives(child) and not lives(grandchild), "both are gone")


def test_what_a_crashed_stack_left_is_found_by_mark_and_by_group_and_nothing_else(tmp_path: Path) -> None:
    home, other = tmp_path / "home", tmp_path / "other"
    marked, unmarked, foreign = Supervisor(home), Supervisor(other), Supervisor(other)
    marked.start([python("marked", env={MARK: str(home)})])
    unmarked.start([python("grouped")])
    foreign.start([python("foreign", env={MARK: str(other)})])
    ProcessRegistry(home).write({"grouped": unmarked.pid("grouped")})  # the mark of `marked` must do without the roll
    try:
        assert ProcessRegistry(home).kill_all() == 2
        assert not lives(marked.pid("marked"))
        assert not lives(unmarked.pid("grouped"))
        assert lives(foreign.pid("foreign"))
        assert ProcessRegistry(home).kill_all() == 0
    finally:
        for supervisor in (marked, unmarked, foreign):
            supervisor.stop()


def test_a_pid_that_another_program_has_now_is_left_alone(tmp_path: Path) -> None:
    stranger = Supervisor(tmp_path / "stranger")
    stranger.start([python("stranger")])
    roll = ProcessRegistry(tmp_path)
    roll.write({"ray": stranger.pid("stranger")})
    text = roll.path.read_text().replace('"created": ', '"created": 1')
    roll.path.write_text(text)
    try:
        assert roll.kill_all() == 0
        assert lives(stranger.pid("stranger"))
    finally:
        stranger.stop()

"""Children that outlive their host are found by their mark and ended; those of the living are left alone."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import workers
from tests.builders.waiting import wait_until
from workers.contract.process import is_alive, process_name
from workers.orphans import MARK, end_children, end_orphans, mark_children

HOST = """
import subprocess, sys
from workers.orphans import mark_children
mark_children()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
sys.stdin.read()
"""


@contextmanager
def host_with_child() -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """A process that marks its children, and a child of it that a process group's end does not reach."""
    environment = os.environ | {"PYTHONPATH": str(Path(workers.__file__).parents[1])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    host = subprocess.Popen([sys.executable, "-c", HOST], env=environment, **pipes)
    child = psutil.Process(int(host.stdout.readline()))
    wait_until(lambda: MARK in child.environ(), "the child is under way")
    try:
        yield host, child
    finally:
        if child.is_running():
            child.kill()  # first, for it holds the pipe
        host.kill()
        host.communicate()


def test_what_outlives_its_host_is_ended():
    with host_with_child() as (host, child):
        host.kill()
        host.wait()
        assert child.is_running()
        assert child.pid in end_orphans()
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_children_of_a_living_host_are_left_alone():
    with host_with_child() as (_, child):
        assert child.pid not in end_orphans()
        assert child.is_running()


def test_a_host_may_end_all_it_started(monkeypatch: pytest.MonkeyPatch):
    with host_with_child() as (_, other):
        monkeypatch.setenv(MARK, "")
        mark_children()
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
        wait_until(lambda: MARK in psutil.Process(child.pid).environ(), "the child is under way")
        name = process_name(child.pid)
        assert end_children() == [child.pid]
        assert name is not None
        assert not is_alive(name)
        assert other.is_running()


def test_a_process_is_known_by_its_id_and_its_start():
    own = process_name(os.getpid())
    assert own is not None
    assert is_alive(own)
    assert not is_alive(f"{os.getpid()}:1")
    assert not is_alive("no process at all")


def test_a_process_that_only_waits_to_be_reaped_is_dead():
    child = subprocess.Popen([sys.executable, "-c", ""])
    name = process_name(child.pid)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert name is None or not is_alive(name)
    assert process_name(child.pid) is None
    child.wait()

"""The process around the loops: its settings, its database, and threads that end."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from orchestrator.cluster.inprocess import InProcessCluster
from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.db.migrate import is_current
from orchestrator.db.states import JobState
from orchestrator.db.tables import TenantRow
from orchestrator.leadership.elector import Elector
from orchestrator.leadership.holder import this_process
from orchestrator.lifecycle.retry_policy import RetryDecision
from orchestrator.loops.composition import World, all_loops
from orchestrator.loops.runner import Loop, run_loops
from orchestrator.settings import Settings
from orchestrator.steps.step import Counts
from tests.builders.rows import NOW, make_job, make_tenant
from tests.builders.scripted_host import ScriptedHost
from tests.builders.waiting import wait_until
from tests.builders.world import make_catalogue
from workers.contract.spec import JobSpec


def make_settings(folder: Path, **changes: object) -> Settings:
    fields = {"database_url": "sqlite://", "storage_uri": "file:///x", "catalogue": folder, "cache_dir": folder}
    return Settings.model_validate(fields | changes)


def test_a_lease_must_outlive_three_passes_of_the_loop(tmp_path: Path):
    with pytest.raises(ValidationError, match="loop_interval_s"):
        make_settings(tmp_path, loop_interval_s=30, lease_ttl_s=60)


def test_an_error_of_the_database_does_not_print_the_row(db: Database):
    tenant = make_tenant(db, name="hidden from every log")
    again = TenantRow(id=tenant.id, slug="other", name=tenant.name, created_at=tenant.created_at)
    with pytest.raises(IntegrityError) as caught, db.write() as session:
        session.add(again)
    assert "hidden from every log" not in str(caught.value)


MIGRATE = """
import sys
from orchestrator.db.migrate import upgrade
print("ready", flush=True)
sys.stdin.readline()
upgrade(sys.argv[1])
"""


@pytest.mark.slow
def test_several_processes_may_migrate_one_sqlite_file_at_once(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'orchard.sqlite'}"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", MIGRATE, url], **pipes) for _ in range(3)]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate()[1][-300:] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    database = Database(url)
    assert is_current(database.engine)
    database.dispose()


def _open_for_writing(url: str, start: threading.Barrier) -> None:
    start.wait()
    database = Database(url)
    database.open_writer().close()
    database.dispose()


def test_many_may_open_a_new_sqlite_file_at_once(tmp_path: Path):
    """The switch to WAL fails at once when another connection holds the file, whatever the busy timeout is."""
    with ThreadPoolExecutor(8) as threads:
        for number in range(20):
            start = threading.Barrier(8)
            url = f"sqlite:///{tmp_path / f'{number}.sqlite'}"
            for opened in [threads.submit(_open_for_writing, url, start) for _ in range(8)]:
                opened.result()


class Steps:
    """A step that raises what it is given, or counts."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.ran = threading.Event()

    def run_once(self, now: datetime) -> Counts:
        self.ran.set()
        if self.error is not None:
            raise self.error
        return Counts()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_when_one_loop_ends_the_process_ends_and_says_that_it_failed():
    sound = Steps()
    assert run_loops([Loop("dead", Steps(SystemExit()), 0.01), Loop("sound", sound, 0.01)], threading.Event()) is False


def test_loops_that_are_told_to_stop_end_well():
    stop, sound = threading.Event(), Steps()
    threading.Thread(target=lambda: (sound.ran.wait(10), stop.set())).start()
    assert run_loops([Loop("sound", sound, 0.01)], stop) is True


def test_a_pass_with_progress_wakes_the_loop_that_goes_on_with_it_and_none_other():
    rested, stop = threading.Event(), threading.Event()

    class Passes:
        def __init__(self) -> None:
            self.count = 0

        def run_once(self, now: datetime) -> Counts:
            self.count += 1
            rested.set()
            return Counts()

    class Validated:
        def run_once(self, now: datetime) -> Counts:
            rested.wait(60)
            return Counts(validated=1)

    woken, other = Passes(), Passes()
    steps = {"first": Validated(), "next": woken, "other": other}
    loops = [Loop(name, step, 3_600, wakes="next" if name == "first" else None) for name, step in steps.items()]
    process = threading.Thread(target=run_loops, args=(loops, stop))
    process.start()
    wait_until(lambda: woken.count > 1, "the next loop's second pass", 60)
    stop.set()
    process.join(60)
    assert not process.is_alive(), "nobody sleeps on for an hour"
    assert other.count == 1


def test_hosts_must_outlast_a_change_of_orchestrators(tmp_path: Path):
    with pytest.raises(ValidationError, match="orchestrator_timeout_s 60 must be at least"):
        make_settings(tmp_path, orchestrator_timeout_s=60)


def test_files_that_take_long_to_check_hold_up_no_other_loop(
    sqlite_db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    checking, release = threading.Event(), threading.Event()

    def check(_spec: JobSpec) -> RetryDecision:
        checking.set()
        release.wait(60)
        raise OSError("storage gave up")

    monkeypatch.setattr("orchestrator.submission.validate.check_files", check)
    slow, other = make_job(sqlite_db, JobState.VALIDATING), make_job(sqlite_db)
    world = World(InProcessCluster(ScriptedHost), NoRegistry(), make_catalogue(), make_settings(tmp_path))
    role = Elector(sqlite_db, "loops", this_process())
    stop = threading.Event()
    process = threading.Thread(target=run_loops, args=(all_loops(role, sqlite_db, world), stop, lambda: NOW))
    process.start()
    try:
        assert checking.wait(60)
        wait_until(lambda: state_of(sqlite_db, other.id) == JobState.STARTING, "the other job is attached", 60)
        assert state_of(sqlite_db, slow.id) == JobState.VALIDATING
    finally:
        stop.set()
        release.set()
        process.join(60)
    assert not process.is_alive()


def test_the_role_is_kept_until_the_last_pass_of_every_other_loop_is_over(
    sqlite_db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    checking, release, stop, kept_on = (threading.Event() for _ in range(4))

    class Kept(Elector):
        rounds_after_stop = 0

        def renew(self) -> bool:
            self.rounds_after_stop += stop.is_set()
            if self.rounds_after_stop > 1:
                kept_on.set()
            return super().renew()

    def check(_spec: JobSpec) -> RetryDecision:
        checking.set()
        release.wait(60)
        raise OSError("storage gave up")

    monkeypatch.setattr("orchestrator.submission.validate.check_files", check)
    make_job(sqlite_db, JobState.VALIDATING)
    world = World(InProcessCluster(ScriptedHost), NoRegistry(), make_catalogue(), make_settings(tmp_path, role_ttl_s=5))
    role = Kept(sqlite_db, "loops", this_process())
    process = threading.Thread(target=run_loops, args=(all_loops(role, sqlite_db, world), stop, lambda: NOW))
    process.start()
    try:
        assert checking.wait(60)
        stop.set()
        assert kept_on.wait(60)
        assert role.grant is not None
    finally:
        stop.set()
        release.set()
        process.join(60)
    assert not process.is_alive()


class NoRegistry:
    """Nothing is published in this test."""


def state_of(db: Database, job_id: str) -> str:
    with db.read() as session:
        return session.scalars(select(JobRow.state).where(JobRow.id == job_id)).one()

"""Storage that is slow, fails and lists what is stale, under the loops; and a migration killed midway."""

import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from sqlalchemy import inspect, text

from orchestrator.checkpoints.attempt_gc import AttemptGc
from orchestrator.checkpoints.gc import CheckpointGc
from orchestrator.checkpoints.states import mark_for_deletion
from orchestrator.db.database import Database
from orchestrator.db.job_tables import CheckpointRow
from orchestrator.db.migrate import is_current, upgrade
from orchestrator.db.states import JobState
from tests.builders.world_jobs import submit
from tests.faults.dying import Died, Town, dying_at
from tests.simulation.faults import Faults
from tests.simulation.schedule import run_schedule
from tests.simulation.storage import PREFIX, SimStorage
from workers.contract.reports import ExitClass

LISTS = ("ls", "find", "walk", "glob", "du")


class Bucket(type(Path())):
    """A folder in the storage of the simulator, spoken to as a Path is."""

    def as_uri(self) -> str:
        return PREFIX + str(self).lstrip("/")


def refuse_to_list(*_args, **_kwargs):
    raise AssertionError("a listing was asked for, and may be stale")


def test_f31_jobs_end_on_storage_that_fails_often_and_is_never_listed(db: Database, tmp_path: Path):
    faults = Faults(31)
    faults.rates = {"storage fails": 0.2}
    SimStorage.reset(faults)
    town = Town(db, tmp_path)
    town.folder = Bucket(tmp_path)
    town.restart_orchestrator()
    with patch.multiple(SimStorage, **dict.fromkeys(LISTS, refuse_to_list)):
        jobs = [submit(town) for _ in range(3)]
        for _ in range(60):
            faults.on = True
            try:
                town.live_on(seconds=20)
            except OSError:  # the scripted worker's own; a real one waits for its storage
                continue
            finally:
                faults.on = False
        town.live_until_over(*jobs)
    assert faults.counts["storage fails"] > 3
    assert [town.job(job_id).state for job_id in jobs] == [JobState.SUCCEEDED] * 3


@pytest.mark.parametrize("first", [9_000, 9_010, 9_020])
def test_f28_schedules_of_every_fault_break_no_invariant(first: int):
    results = [run_schedule(seed) for seed in range(first, first + 10)]
    assert [(result.seed, result.violation) for result in results if result.violation] == []
    assert sum(sum(result.faults.values()) for result in results) > 30


def checkpointed(town: Town) -> str:
    """A job with two checkpoints of an attempt that is over."""
    job_id = submit(town)
    town.tick(4)
    host = town.host_of(job_id)
    host.prepare(job_id, total_steps=6)
    for _ in range(2):
        host.step(job_id, times=2)
        host.checkpoint(job_id)
    host.detach(job_id, 1, ExitClass.PREEMPTED)
    town.tick()
    return job_id


def test_f33_erasing_that_dies_after_the_bytes_is_completed_and_takes_nothing_else(db: Database, tmp_path: Path):
    town = Town(db, tmp_path)
    job_id = checkpointed(town)
    with db.write() as session:
        mark_for_deletion(session, CheckpointRow.job_id == job_id, CheckpointRow.step == 2)
    erase = CheckpointGc(db)
    with dying_at("checkpoints.erased") as struck, pytest.raises(Died):
        erase.run_once(town.now)
    assert struck
    erase.run_once(town.now)
    with db.read() as session:
        states = dict(session.execute(text("SELECT step, state FROM checkpoint")).tuples().all())
    assert states == {2: "deleted", 4: "committed"}
    assert sorted(path.name for path in (tmp_path / job_id / "a1").iterdir()) == ["step-4"]
    town.live_until_over(job_id)
    assert town.attempts(job_id)[1].resumed_from_step == 4


def test_f33_collecting_that_dies_between_leftovers_is_completed_and_takes_nothing_alive(db: Database, tmp_path: Path):
    town = Town(db, tmp_path)
    job_id = checkpointed(town)
    for name in ("step-9", ".step-8.tmp-abc"):
        (tmp_path / job_id / "a1" / name).mkdir()
        (tmp_path / job_id / "a1" / name / "half").write_text("written")
    collect = AttemptGc(db, after_s=0)
    with dying_at("attempts.leftover") as struck, pytest.raises(Died):
        collect.run_once(town.now)
    assert struck
    collect.run_once(town.now)
    assert sorted(path.name for path in (tmp_path / job_id / "a1").iterdir()) == ["step-2", "step-4"]


MIGRATE = """
import os, signal, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from orchestrator.db.migrate import upgrade
made = []
@event.listens_for(Engine, "after_cursor_execute")
def die(_connection, _cursor, statement, *_):
    if statement.lstrip().startswith("CREATE TABLE"):
        made.append(statement)
        if len(made) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
upgrade(sys.argv[1])
"""


def test_f30_a_migration_killed_midway_is_run_again(request: pytest.FixtureRequest, database_url: str, tmp_path: Path):
    database = Database(database_url)
    with database.open_writer() as connection, connection.begin():
        for table in inspect(connection).get_table_names():
            connection.exec_driver_sql(f"DROP TABLE {table}" + _cascade(database))
    killed = subprocess.run([sys.executable, "-c", MIGRATE, database_url], check=False)
    assert killed.returncode == -signal.SIGKILL
    upgrade(database_url)
    assert is_current(database.engine)
    database.dispose()


def _cascade(database: Database) -> str:
    return " CASCADE" if database.engine.dialect.name == "postgresql" else ""

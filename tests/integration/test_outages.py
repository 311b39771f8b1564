"""The loops while the database fails them: nothing is lost or done twice, and they go on by themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from orchestrator.db.database import Database
from orchestrator.db.job_tables import EventRow
from orchestrator.db.postgresql import IDLE_IN_TRANSACTION_S
from orchestrator.db.states import JobState
from orchestrator.loops.runner import run_until
from orchestrator.steps.step import Counts, StepSequence
from tests.builders.rows import NOW
from tests.builders.world import World
from tests.builders.world_jobs import running, submit


def passes(world: World, times: int) -> Counts:
    """Passes of the loop as a process makes them: errors are told, not raised."""
    counts = Counts()
    for _ in range(times):
        world.now += timedelta(seconds=1)
        counts += StepSequence(world.steps).run_once(world.now)
    return counts


class FlakyWrites:
    """Of a database's transactions the one of this number fails: its commit, or only the answer to it, is lost."""

    def __init__(self, db: Database, number: int, committed: bool) -> None:
        self._write, self._number, self._committed = db.write, number, committed
        self.count = 0
        db.write = self.write  # type: ignore[method-assign]

    @contextmanager
    def write(self) -> Iterator[Session]:
        self.count += 1
        failing = self.count == self._number
        with self._write() as session:
            yield session
            if failing and not self._committed:
                raise lost_connection()
        if failing:
            raise lost_connection()

    @property
    def failed(self) -> bool:
        return self.count >= self._number


def lost_connection() -> OperationalError:
    return OperationalError("COMMIT", {}, Exception("server closed the connection unexpectedly"))


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("number", range(1, 9))
def test_whichever_commit_fails_or_is_not_heard_of_the_job_ends_once(
    sqlite_db: Database, tmp_path: Path, number: int, committed: bool
):
    world = World(sqlite_db, tmp_path)
    job_id = submit(world)
    flaky = FlakyWrites(world.db, number, committed)
    passes(world, 6)
    world.host_of(job_id).run(job_id)
    passes(world, 4)
    assert flaky.failed
    assert world.job(job_id).state == JobState.PUBLISHING
    assert len(world.attempts(job_id)) == 1
    assert len(world.hosts()) == 1
    with world.db.read() as session:
        moves = session.scalars(
            select(EventRow.message).where(EventRow.job_id == job_id, EventRow.type == "message")
        ).all()
    assert len(moves) == len(set(moves))
    world.check()


def test_a_connection_dropped_in_mid_transaction_costs_one_pass(world: World):
    if world.db.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has no connections to drop")
    job_id = running(world)
    world.host_of(job_id).step(job_id, times=2)
    cut: list[int] = []

    @event.listens_for(world.db.engine, "before_cursor_execute")
    def cut_once(connection, cursor, statement, *_):
        if statement.startswith("UPDATE host") and not cut:
            cut.append(connection.connection.dbapi_connection.info.backend_pid)
            with world.db.engine.connect() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": cut[0]})

    counts = passes(world, 1)
    assert cut
    assert counts["outages"] == 1
    assert counts["errors"] == 0
    passes(world, 1)
    assert world.job(job_id).step == 2
    assert sum(message.startswith("Step 1/") for message in world.messages(job_id)) == 1


def test_a_connection_that_ended_while_nobody_used_it_is_not_noticed(db: Database):
    if db.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has no connections to drop")
    with db.read() as one, db.read() as other:
        pids = [session.scalar(text("SELECT pg_backend_pid()")) for session in (one, other)]
    with db.read() as session:
        own = session.scalar(text("SELECT pg_backend_pid()"))
        for pid in {*pids} - {own}:
            session.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})
    with db.write() as one, db.write() as other:
        now = [session.scalar(text("SELECT pg_backend_pid()")) for session in (one, other)]
    assert len({*pids, *now}) > len({*pids})


def test_a_read_holds_no_transaction_open(db: Database):
    """Or whoever reads and is stopped would keep PostgreSQL from cleaning up."""
    if db.engine.dialect.name != "postgresql":
        pytest.skip("SQLite shows a read one moment, which takes a transaction")
    with db.read() as session:
        session.execute(text("SELECT 1"))
        assert session.connection().connection.dbapi_connection.info.transaction_status.name == "IDLE"


def test_a_database_that_is_busy_for_long_is_an_outage_and_not_an_end(world: World):
    if world.db.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL has no single writer")
    job_id = running(world)
    world.host_of(job_id).step(job_id)
    event.listen(world.db.engine, "checkout", lambda connection, *_: connection.execute("PRAGMA busy_timeout=50"))
    another = Database(str(world.db.engine.url))
    with another.write() as session:
        session.execute(text("SELECT 1"))  # it begins with its first statement
        counts = passes(world, 2)
    another.dispose()
    assert counts["outages"] > 0
    assert counts["errors"] == 0
    assert world.job(job_id).step == 0
    passes(world, 1)
    assert world.job(job_id).step == 1


class Failing:
    """A step that fails some times, and then ends the loop."""

    def __init__(self, error: Exception, stop) -> None:
        self.error, self.stop, self.passes = error, stop, 0

    def run_once(self, now: object) -> Counts:
        self.passes += 1
        if self.passes == 4:
            self.stop.set()
            return Counts()
        raise self.error


class Stop:
    """An event that nobody waits for."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.over = False

    def is_set(self) -> bool:
        return self.over

    def set(self) -> None:
        self.over = True

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)


def test_a_loop_outlives_outages_and_asks_less_often_meanwhile():
    stop = Stop()
    step = Failing(lost_connection(), stop)
    run_until(stop, StepSequence((step,)), 0.5, lambda: NOW)  # type: ignore[arg-type]
    assert step.passes == 4
    assert stop.waits == [1.0, 2.0, 4.0, 0.5]


def test_a_clock_that_cannot_be_asked_does_not_end_the_loop():
    stop = Stop()
    readings = iter([lost_connection(), NOW, NOW, NOW, NOW])

    def clock():
        reading = next(readings)
        if isinstance(reading, Exception):
            raise reading
        return reading

    step = Failing(ValueError("a bug"), stop)
    run_until(stop, StepSequence((step,)), 0.5, clock)  # type: ignore[arg-type]
    assert step.passes == 4


def test_whoever_stands_still_in_mid_transaction_is_cut_off_by_the_server(db: Database):
    if db.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has no server")
    with db.read() as session:
        assert session.scalar(text("SHOW idle_in_transaction_session_timeout")) == f"{IDLE_IN_TRANSACTION_S}s"


def test_a_full_disk_is_an_outage_and_the_loops_go_on(sqlite_db: Database, tmp_path: Path):
    world = World(sqlite_db, tmp_path)
    job_id = running(world)
    world.host_of(job_id).step(job_id, times=300)
    with sqlite_db.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    room = [pages]
    limit = lambda connection, *_: connection.execute(f"PRAGMA max_page_count={room[0]}")  # noqa: E731
    event.listen(sqlite_db.engine, "checkout", limit)
    counts = passes(world, 2)
    assert counts["outages"] == 2
    assert counts["errors"] == 0
    assert world.job(job_id).step == 0
    room[0] = 1_000_000
    passes(world, 1)
    assert world.job(job_id).step == 300

"""The database breaks under a live stack: connections end, it crashes, it is busy, it is away for a while."""

import contextlib
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from tests.builders.live_stack import submit, upload
from tests.builders.specs import sum_rows
from tests.builders.waiting import wait_until
from tests.faults.rig import PATIENCE_S, Rig, end_of
from tests.faults.tenants import one_client, succeeds

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(1_200)]

BUSY_S = 10
AWAY_S = 30
OTHERS = "pid <> pg_backend_pid() AND datname = :name AND backend_type = 'client backend'"


def on_sqlite(rig: Rig) -> bool:
    return rig.live.stack.database_url.startswith("sqlite")


@contextlib.contextmanager
def administrator(rig: Rig) -> Iterator[Callable[..., list]]:
    """Runs statements on the server, from another database. Each gives its rows, if it has any."""
    url = make_url(rig.live.stack.database_url)
    engine = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")

    def run(statement: str, **values: object) -> list:
        result = connection.execute(text(statement), values)
        return list(result) if result.returns_rows else []

    with engine.connect() as connection:
        yield run
    engine.dispose()


@contextlib.contextmanager
def locked(rig: Rig) -> Iterator[None]:
    """Nobody else may write to SQLite."""
    path = rig.live.stack.database_url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextlib.contextmanager
def refusing(rig: Rig) -> Iterator[list[int]]:
    """PostgreSQL ends every connection to our database and takes no new one. Yields how many it ended."""
    name = make_url(rig.live.stack.database_url).database
    with administrator(rig) as run:
        run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        yield [len(run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OTHERS}", name=name))]
        run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def running_job(rig: Rig, epochs: int = 50) -> tuple:
    client = one_client(rig)
    job_id = submit(client, upload(client, sum_rows(16)), n_epochs=epochs).id
    wait_until(lambda: rig.job(job_id).state == "running", "the job runs", PATIENCE_S)
    return client, job_id


def test_f09_connections_that_end_at_any_moment_lose_and_double_nothing(rig: Rig):
    if on_sqlite(rig):
        client, job_id = running_job(rig)
        with locked(rig):
            time.sleep(BUSY_S)  # the point is the time that passes
        succeeds(rig, client, job_id)
        return
    client, first = running_job(rig)
    others = [submit(client, upload(client)).id for _ in range(2)]
    ended, stop, name = [], threading.Event(), make_url(rig.live.stack.database_url).database

    def cut() -> None:
        with administrator(rig) as run:
            while not stop.wait(0.7):
                ended.extend(run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OTHERS}", name=name))

    cutter = threading.Thread(target=cut)
    cutter.start()
    time.sleep(BUSY_S)
    stop.set()
    cutter.join()
    assert len(ended) > 5
    rig.live.db.engine.dispose()
    for job_id in (first, *others):
        succeeds(rig, client, job_id)


def test_f09_a_server_that_crashes_and_recovers_loses_nothing(rig: Rig):
    if on_sqlite(rig):
        pytest.skip("SQLite has no server")
    client, job_id = running_job(rig)
    with administrator(rig) as run:
        name = make_url(rig.live.stack.database_url).database
        (victim,) = run(f"SELECT pid FROM pg_stat_activity WHERE {OTHERS} LIMIT 1", name=name)
        os.kill(victim[0], signal.SIGKILL)  # the postmaster then ends all and recovers, as after a crash
        with pytest.raises(OperationalError):
            wait_until(lambda: run("SELECT false")[0][0], "this connection has ended, too", PATIENCE_S)
    rig.live.db.engine.dispose()
    wait_until(lambda: _answers(rig), "the server has recovered", PATIENCE_S)
    succeeds(rig, client, job_id)


def test_f10_while_the_database_is_away_nothing_is_restarted(rig: Rig):
    client, job_id = running_job(rig)
    host = rig.host_of(job_id).pid
    if on_sqlite(rig):
        with locked(rig):
            time.sleep(AWAY_S + 10)  # longer than anybody waits for a lock
    else:
        with refusing(rig) as ended:
            time.sleep(AWAY_S)
        assert ended[0] > 0
        rig.live.db.engine.dispose()
    job = end_of(client, job_id)
    assert job.status == "succeeded", job.error
    assert len(rig.attempts(job_id)) == 1
    assert rig.host_of(job_id).pid == host


def _answers(rig: Rig) -> bool:
    try:
        with rig.live.db.read() as session:
            session.execute(text("SELECT 1"))
    except SQLAlchemyError:
        return False
    return True

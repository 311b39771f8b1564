"""`Database`: short read and write transactions over either engine."""

import copy
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Self

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.orm import Session
from tenacity import retry, retry_if_exception, stop_after_delay, wait_random

from orchestrator.db.postgresql import postgresql_engine

_BEGIN = "orchard_begin"  # an execution option: how a SQLite connection begins a transaction, if at all
_PRAGMAS = (
    "busy_timeout=30000",  # first: the others wait too
    "wal_autocheckpoint=4000",  # pages, 16 MB: pages rewritten often are copied back less often
    "synchronous=FULL",
    "foreign_keys=ON",
)
_SQLITE_POOL = 20  # concurrent API readers; each one beyond opens a file and sets its pragmas every time


class Database:
    """A connection pool for reads and writes: with a session, or without one where a session costs too much.

    `write()` takes SQLite's write lock immediately (`BEGIN IMMEDIATE`): SQLite does not wait for a lock
    requested mid-transaction but fails with "database is locked". Threads of this process queue on a mutex first,
    because SQLite would make them sleep and poll. On PostgreSQL, writers use READ COMMITTED and compare-and-set. Reads
    run in autocommit: each statement sees what is committed when it begins. READ COMMITTED would return the same and
    cost two more round trips. Errors contain no values: rows hold key digests, leases and tenant data.
    """

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        sqlite = self.engine.dialect.name == "sqlite"
        self._writer = self.engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
        self._reader = self.engine if sqlite else self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._fence: Callable[[Connection], None] | None = None
        self._turn = threading.Lock() if sqlite else nullcontext()

    def fenced(self, fence: Callable[[Connection], None]) -> Self:
        """The same pool, but each write first calls `fence(connection)`, which raises to abort the write."""
        twin = copy.copy(self)
        twin._fence = fence
        return twin

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A read-only session; on SQLite all its statements see one snapshot."""
        with Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that commits when the block ends, or rolls back when it raises."""
        with self._turn, Session(self._writer, expire_on_commit=False) as session, session.begin():
            if self._fence is not None:
                self._fence(session.connection())
            yield session

    def open_writer(self) -> Connection:
        """A plain connection with the transactions of `write()`, for migrations."""
        return self._writer.connect()

    def dispose(self) -> None:
        """Close every connection."""
        self.engine.dispose()


@retry(
    retry=retry_if_exception(lambda error: getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY),
    wait=wait_random(0.001, 0.05),
    stop=stop_after_delay(30),
    reraise=True,
)
def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to WAL, once. The switch fails at once, whatever the busy timeout, when others open the file."""
    connection.execute("PRAGMA journal_mode=WAL")


def _engine(url: str) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        return postgresql_engine(url)
    options = {"timeout": 30, "isolation_level": None}
    engine = create_engine(url, connect_args=options, hide_parameters=True, pool_size=_SQLITE_POOL)

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        _use_wal(connection)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if begin := connection.get_execution_options().get(_BEGIN, "BEGIN"):
            connection.exec_driver_sql(begin)

    return engine

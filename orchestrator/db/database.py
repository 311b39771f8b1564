"""`Database`: short read and write transactions over either engine."""

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Self

from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.orm import Session

from orchestrator.db.postgresql import postgresql_engine
from orchestrator.db.sqlite import BEGIN, sqlite_engine


class Database:
    """A connection pool with sessions for reads and writes.

    `write()` takes SQLite's write lock immediately (`BEGIN IMMEDIATE`): SQLite does not wait for a lock requested
    mid-transaction but fails with "database is locked". Threads of this process queue on a mutex first, because SQLite
    would make them sleep and poll. On PostgreSQL, writers use READ COMMITTED and compare-and-set. Reads run in
    autocommit there: each statement sees what is committed when it begins. READ COMMITTED would return the same and
    cost two more round trips. Errors contain no values: rows hold key digests, leases and tenant data.
    """

    def __init__(self, url: str, statement_timeout_s: float | None = None) -> None:
        """`statement_timeout_s`: a statement that takes longer fails and is rolled back; None: however long."""
        self.engine = _engine(url, statement_timeout_s)
        sqlite = self.engine.dialect.name == "sqlite"
        self._writer = self.engine.execution_options(**{BEGIN: "BEGIN IMMEDIATE"})
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


def _engine(url: str, statement_timeout_s: float | None) -> Engine:
    is_sqlite = make_url(url).get_backend_name() == "sqlite"
    return (sqlite_engine if is_sqlite else postgresql_engine)(url, statement_timeout_s)

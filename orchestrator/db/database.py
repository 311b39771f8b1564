"""`Database`: short read and write transactions over either engine."""

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final, Self

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.orm import Session

_WRITE = "orchard_write"
_POSTGRES: Final = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # milliseconds; or what was sent to nobody would be waited for a quarter of an hour
}
IDLE_IN_TRANSACTION_S: Final = 10
"""A process that is stopped in mid-transaction keeps its locks no longer; less than any lease of a role."""


class Database:
    """A pool of connections and the two kinds of transaction.

    `write()` takes SQLite's write lock at once (`BEGIN IMMEDIATE`): a lock asked for in mid-transaction cannot be
    waited for and fails as "database is locked". Threads of this process take turns before that, for SQLite would have
    them sleep and try again. On PostgreSQL both kinds are READ COMMITTED, and writers compare and set. Errors name no
    values: rows hold digests of keys, lease tokens and what tenants wrote.
    """

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._writer = self.engine.execution_options(**{_WRITE: True})
        self._fence: Callable[[Session], None] | None = None
        self._turn = threading.Lock() if self.engine.dialect.name == "sqlite" else nullcontext()

    def fenced(self, fence: Callable[[Session], None]) -> Self:
        """The same pool, but each write begins with `fence(session)`, which raises to have nothing written."""
        twin = copy.copy(self)
        twin._fence = fence
        return twin

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that is rolled back at the end."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that commits when the block ends, or rolls back when it raises."""
        with self._turn, Session(self._writer, expire_on_commit=False) as session, session.begin():
            if self._fence is not None:
                self._fence(session)
            yield session

    def connect_writer(self) -> Connection:
        """A bare connection whose transactions are those of `write()`, for migrations."""
        return self._writer.connect()

    def dispose(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _postgresql(url: str) -> Engine:
    """Connections that are tried before use, and that notice within half a minute that nobody is there any more."""
    options = {"pool_pre_ping": True, "pool_size": 10, "max_overflow": 20, "hide_parameters": True}
    engine = create_engine(url, connect_args=_POSTGRES, **options)

    @event.listens_for(engine, "connect")
    def _limits(connection: Any, _record: Any) -> None:
        connection.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_S}s'")
        connection.commit()

    return engine


def _engine(url: str) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        return _postgresql(url)
    engine = create_engine(url, connect_args={"timeout": 30, "isolation_level": None}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get(_WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine

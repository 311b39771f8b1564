"""SQLite connections: durable, in WAL mode, with statements that end in bounded time if asked."""

import sqlite3
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from tenacity import retry, retry_if_exception, stop_after_delay, wait_random

BEGIN: Final = "orchard_begin"
"""An execution option: how a connection begins a transaction."""
_PRAGMAS = (
    "busy_timeout=30000",  # first: the others wait too
    "wal_autocheckpoint=4000",  # pages, 16 MB: pages rewritten often are copied back less often
    "synchronous=FULL",
    "foreign_keys=ON",
)
_POOL = 20  # concurrent API readers; each one beyond opens a file and sets its pragmas every time
_STEPS_BETWEEN_LOOKS = 20_000  # of SQLite's virtual machine, well below a millisecond


def sqlite_engine(url: str, statement_timeout_s: float | None = None) -> Engine:
    """A pool of connections to one file. Errors contain no values.

    A statement that computes for longer than `statement_timeout_s` seconds is interrupted; None: never. A wait for the
    write lock does not count: `busy_timeout` bounds it.
    """
    options = {"timeout": 30, "isolation_level": None}
    engine = create_engine(url, connect_args=options, hide_parameters=True, pool_size=_POOL)

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        _use_wal(connection)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get(BEGIN, "BEGIN"))

    if statement_timeout_s is not None:
        _interrupt_after(engine, statement_timeout_s)
    return engine


@retry(
    retry=retry_if_exception(lambda error: getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY),
    wait=wait_random(0.001, 0.05),
    stop=stop_after_delay(30),
    reraise=True,
)
def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to WAL, once. The switch fails at once, whatever the busy timeout, when others open the file."""
    connection.execute("PRAGMA journal_mode=WAL")


def _interrupt_after(engine: Engine, timeout_s: float, clock: Callable[[], float] = monotonic) -> None:
    started = "orchard_statement_started"

    @event.listens_for(engine, "connect")
    def _watch(connection: Any, record: Any) -> None:
        info = record.info

        def too_long() -> bool:
            return started in info and clock() - float(info[started]) > timeout_s

        connection.set_progress_handler(too_long, _STEPS_BETWEEN_LOOKS)

    @event.listens_for(engine, "before_cursor_execute")
    def _start(connection: Connection, *_: Any) -> None:
        connection.info[started] = clock()

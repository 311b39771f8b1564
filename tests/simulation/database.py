"""The database of the simulator: SQLite in memory, one for the process, whose transactions fail on occasion."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from sqlalchemy.orm import Session

import orchestrator.db.job_tables
import orchestrator.db.tables  # noqa: F401  # both fill Base.metadata
from orchestrator.db.columns import Base
from orchestrator.db.database import Database
from tests.simulation.faults import Died, Faults, LostConnection


class SimDatabase(Database):
    """`depth` tells whether a transaction is open: nobody else may act then, for there is one connection."""

    def __init__(self) -> None:
        super().__init__("sqlite://")
        Base.metadata.create_all(self.engine)
        self._empty = sqlite3.connect(":memory:")
        self._copy(self._connection(), self._empty)
        self.faults: Faults | None = None
        self.depth = 0

    def reset(self, faults: Faults) -> None:
        self.faults, self.depth = faults, 0
        self._copy(self._empty, self._connection())

    @contextmanager
    def read(self) -> Iterator[Session]:
        self._refuse()
        with self._open(), super().read() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        self._refuse()
        with self._open(), super().write() as session:
            yield session
            session.flush()
            self._refuse()
            if self._strikes("orchestrator dies"):
                raise Died("before a commit")
        if self._strikes("commit's answer lost"):
            raise LostConnection
        if self._strikes("orchestrator dies"):
            raise Died("after a commit")

    @contextmanager
    def _open(self) -> Iterator[None]:
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    def _refuse(self) -> None:
        if self._strikes("transaction refused"):
            raise LostConnection

    def _strikes(self, kind: str) -> bool:
        return self.faults is not None and self.faults.strike(kind, weight=0.3)

    def _connection(self) -> sqlite3.Connection:
        return self.engine.raw_connection().driver_connection

    @staticmethod
    def _copy(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
        source.backup(target)


@cache
def database() -> SimDatabase:
    """The one of this process: SQLAlchemy compiles every statement once."""
    return SimDatabase()

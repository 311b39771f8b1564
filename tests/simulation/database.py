"""The database of the simulator: one SQLite in memory per process, whose transactions sometimes fail.

Its clock is the schedule's: SQL's `strftime('…', 'now')` is answered from `clock`.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache

from sqlalchemy.orm import Session

import orchestrator.db.effect_tables
import orchestrator.db.encoding_tables
import orchestrator.db.job_tables
import orchestrator.db.tables  # noqa: F401  # all fill Base.metadata
from orchestrator.db.columns import Base
from orchestrator.db.database import Database
from tests.builders.rows import NOW
from tests.simulation.faults import Died, Faults, LostConnection


class Condition:
    """What a database shares with its fenced twins. While `depth` > 0 a transaction is open on the one connection."""

    def __init__(self) -> None:
        self.faults: Faults | None = None
        self.depth = 0
        self.clock = lambda: NOW


class SimDatabase(Database):
    """Transactions are refused, fail before or after their commit, or lose the answer to it."""

    def __init__(self) -> None:
        super().__init__("sqlite://")
        Base.metadata.create_all(self.engine)
        self.condition = Condition()
        self._empty = sqlite3.connect(":memory:")
        self._connection().backup(self._empty)
        self._connection().create_function("strftime", -1, self._strftime)

    def reset(self, faults: Faults, clock) -> None:
        """Start a schedule: no rows, its faults and its clock."""
        self.condition.faults, self.condition.depth, self.condition.clock = faults, 0, clock
        self._empty.backup(self._connection())

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
            self._fail_before_the_commit()
        self._fail_after_the_commit()

    def _fail_before_the_commit(self) -> None:
        self._refuse()
        if self._strikes("orchestrator dies"):
            raise Died("before a commit")

    def _fail_after_the_commit(self) -> None:
        if self._strikes("commit's answer lost"):
            raise LostConnection
        if self._strikes("orchestrator dies"):
            raise Died("after a commit")

    @contextmanager
    def _open(self) -> Iterator[None]:
        self.condition.depth += 1
        try:
            yield
        finally:
            self.condition.depth -= 1

    def _refuse(self) -> None:
        if self._strikes("transaction refused"):
            raise LostConnection

    def _strikes(self, kind: str) -> bool:
        faults = self.condition.faults
        return faults is not None and faults.strike(kind, weight=0.3)

    def _connection(self) -> sqlite3.Connection:
        return self.engine.raw_connection().driver_connection

    def _strftime(self, form: str, start: str, shift: str = "0 seconds") -> str:
        """Implements only the calls that the product makes."""
        assert start == "now"
        amount, unit = shift.split()
        assert unit == "seconds"
        now: datetime = self.condition.clock() + timedelta(seconds=float(amount))
        assert form == "%Y-%m-%d %H:%M:%f"
        return now.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


@cache
def database() -> SimDatabase:
    """The database of this process, shared so that SQLAlchemy compiles every statement once."""
    return SimDatabase()

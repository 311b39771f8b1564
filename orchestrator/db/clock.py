"""The database's clock, in SQL and as the loops' `now`. The clocks of other machines may be wrong."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from orchestrator.db.columns import UtcDateTime
from orchestrator.db.database import Database

ASK_AGAIN_S: Final = 30.0


class db_clock(GenericFunction[datetime]):  # SQL functions are lower case
    """The time of evaluation, which may follow a wait for a lock. `db_clock(seconds)` is that much later.

    The integer `seconds` is compiled into the statement. PostgreSQL's `now()` would be the transaction's start.
    """

    type = UtcDateTime()
    inherit_cache = True


@compiles(db_clock, "postgresql")  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def _postgresql(element: db_clock, compiler: Any, **kw: Any) -> str:
    later = compiler.process(element.clauses, **kw)
    return f"(clock_timestamp() + make_interval(secs => {later}))" if later else "clock_timestamp()"


@compiles(db_clock, "sqlite")  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def _sqlite(element: db_clock, compiler: Any, **kw: Any) -> str:
    """Formatted as SQLAlchemy stores datetimes, so that both compare as text."""
    later = compiler.process(element.clauses, **kw)
    shift = f", {later} || ' seconds'" if later else ""
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now'{shift}) || '000')"


class DatabaseClock:
    """`now` by the database's clock. Thread-safe.

    It queries the database rarely and advances by a monotonic clock in between, so after one success it never fails.
    """

    def __init__(self, db: Database, ticks: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._ticks = ticks
        self._known: tuple[float, datetime] | None = None

    def __call__(self) -> datetime:
        """The time. Raises the database's error if the database is down and was never reached before."""
        known = self._known
        if known is None or self._ticks() - known[0] > ASK_AGAIN_S:
            known = self._known = self._asked(known)
        ticks, then = known
        return then + timedelta(seconds=self._ticks() - ticks)

    def _asked(self, known: tuple[float, datetime] | None) -> tuple[float, datetime]:
        before = self._ticks()
        try:
            with self._db.read() as session:
                return before, session.execute(select(db_clock())).scalar_one()
        except SQLAlchemyError:
            if known is None:
                raise
            return known

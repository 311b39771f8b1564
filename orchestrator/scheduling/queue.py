"""The part of the queue that one planner pass reads: the head of each line.

Jobs for the same resident base wait in one line, by priority, then by age. A pass reads only the first `HEADS` jobs
of a line, so its cost does not depend on the queue's length. If those cannot be placed, the jobs behind wait too.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, bindparam, func, literal, or_, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import Desired, JobState

HEADS: Final = 64

_KEY: Final = (JobRow.base_id, JobRow.quantization, JobRow.compute_dtype, JobRow.task, JobRow.lane)
_NAMES: Final = tuple(column.key for column in _KEY)
_WAITING: Final = (JobRow.finished_at.is_(None), JobRow.state == JobState.QUEUED)
_IN_LINE: Final = (*_WAITING, *(column == bindparam(column.key) for column in _KEY))
_READ: Final[tuple[InstrumentedAttribute[Any], ...]] = (
    *(JobRow.id, JobRow.seq, JobRow.tenant_id, JobRow.state, JobRow.attempt, JobRow.lease_token, JobRow.priority),
    *(*_KEY, JobRow.memory_bytes, JobRow.pass_tokens, JobRow.queue_reason),
)
"""The columns that the planner reads. It skips the spec, which is large and may not parse in this version."""

Queued = Row[Any]
"""A job with only the columns of `_READ`, under their names."""

_ABOVE_ALL: Final = 2**31 - 1
_LAST_OF_LINE: Final = tuple_(
    *(bindparam(name, type_=JobRow.base_id.type) for name in _NAMES), literal(_ABOVE_ALL), literal(2**62)
)
"""Greater than any position of a line. SQLite seeks the first row that is not smaller, past the line's own rows."""
_NEXT_LINE: Final = (
    select(*_KEY)
    .where(*_WAITING, tuple_(*_KEY, JobRow.priority, JobRow.seq) > _LAST_OF_LINE)
    .order_by(*_KEY, JobRow.priority, JobRow.seq)
    .limit(1)
)
_NEXT_PRIORITY: Final = select(func.max(JobRow.priority)).where(*_IN_LINE, JobRow.priority < bindparam("below"))
_LAST: Final = 2**62
_place: Final = tuple_(*_KEY, JobRow.priority, JobRow.seq)


def _at(seq: Any) -> Any:
    """A position in one line at one priority. A range instead of equal columns: with those, PostgreSQL would order by
    `seq` alone and scan the primary key past every job that is over.
    """
    return tuple_(*(bindparam(name, type_=JobRow.base_id.type) for name in _NAMES), bindparam("priority"), seq)


_HEADS: Final = (
    select(*_READ)
    .where(*_WAITING, _place > _at(literal(0)), _place < _at(literal(_LAST)), JobRow.desired == Desired.RUN)
    .where(or_(JobRow.not_before.is_(None), JobRow.not_before <= bindparam("now")))
    .order_by(*_KEY, JobRow.priority, JobRow.seq)
    .limit(bindparam("places"))
)
_ONE: Final = select(*_READ).where(JobRow.id == bindparam("job_id"))


def heads(session: Session, now: datetime) -> list[Queued]:
    """The first `HEADS` jobs of every line, each line in order."""
    return [job for line in _lines(session) for job in _first(session, line._asdict(), now)]


def queued(session: Session, job_id: str) -> Queued:
    """One job, at any position."""
    return session.execute(_ONE, {"job_id": job_id}).one()


def _lines(session: Session) -> Iterator[Row[str, str, str, str, str]]:
    """Every resident key with waiting jobs: one index seek per key, not per job."""
    line = session.execute(_NEXT_LINE, dict.fromkeys(_NAMES, "")).first()
    while line is not None:
        yield line
        line = session.execute(_NEXT_LINE, dict(line._mapping)).first()


def _first(session: Session, line: dict[str, Any], now: datetime) -> Iterator[Queued]:
    """The head of one line, from its highest priority down."""
    places, below = HEADS, _ABOVE_ALL
    while places:
        priority = session.scalar(_NEXT_PRIORITY, line | {"below": below})
        if priority is None:
            return
        found = session.execute(_HEADS, line | {"priority": priority, "places": places, "now": now}).all()
        yield from found
        places, below = places - len(found), priority

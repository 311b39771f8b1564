"""The part of the queue that one planner pass reads: the head of each line.

A tenant's jobs for the same resident base wait in one line, by priority, then by age. A pass reads only the first few
of each line, and the oldest of each of its priorities, so its cost depends on how many lines there are and not on how
long they are. If those cannot be placed, the jobs behind wait too: they are the same tenant's, for the same base.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Row, Select, bindparam, literal, or_, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from orchestrator.db.columns import RESIDENT_KEY
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import Desired, JobState
from orchestrator.lifecycle.turns import HEADS

LEAST_HEADS: Final = 4
PASS_HEADS: Final = 1_024
"""Where there are very many lines, a pass reads about so many jobs, but `LEAST_HEADS` of each line."""

_LINE: Final = (*RESIDENT_KEY, "tenant_id")
_GROUP: Final = (*_LINE, "priority")
_LAST: Final = 2**62
"""Greater than every `seq`."""
_WAITING: Final = (JobRow.finished_at.is_(None), JobRow.state == JobState.QUEUED)
_READ: Final[tuple[InstrumentedAttribute[Any], ...]] = (
    *(JobRow.id, JobRow.seq, JobRow.tenant_id, JobRow.state, JobRow.desired, JobRow.attempt, JobRow.lease_token),
    JobRow.priority,
    *(getattr(JobRow, name) for name in RESIDENT_KEY),
    *(JobRow.memory_bytes, JobRow.pass_tokens, JobRow.state_since),
    *(JobRow.queue_reason, JobRow.queue_constraint, JobRow.kept_host_id),
)
"""The columns that the planner reads. It skips the spec, which is large and may not parse in this version."""

Queued = Row[Any]
"""A job with only the columns of `_READ`, under their names."""


def _place(job: Any) -> tuple[Any, ...]:
    """A job's position in the order of `ix_job_turn`."""
    return *(getattr(job, name) for name in _GROUP), job.seq


def _groups() -> Select[*tuple[Any, ...]]:
    """The first job of every line and priority, in the order of the index: one seek each, whatever is behind it.

    Positions are compared as rows: with equal columns instead, PostgreSQL would order by `seq` alone and scan the
    primary key past every job that is over. SQLite seeks by a row of expressions, not of another row's columns, and
    leaves out the primary key: so by the lowest position of the next priority.
    """
    here, after, found = aliased(JobRow), aliased(JobRow), aliased(JobRow)
    first = select(JobRow.seq).where(*_WAITING).order_by(*_place(JobRow)).limit(1).scalar_subquery()
    group = select(first.label("seq")).cte("queue_group", recursive=True)
    waiting = (after.finished_at.is_(None), after.state == JobState.QUEUED)
    line = (getattr(here, name).concat("") for name in _LINE)
    beyond = tuple_(*_place(after)) > tuple_(*line, here.priority + 1, literal(0))
    following = select(after.seq).where(*waiting, beyond).order_by(*_place(after)).limit(1).correlate(here)
    group = group.union_all(select(following.scalar_subquery()).select_from(here).where(here.seq == group.c.seq))
    return select(*(getattr(found, name) for name in _GROUP)).join(group, group.c.seq == found.seq)


def _bound(seq: Any) -> Any:
    kinds = {name: getattr(JobRow, name).type for name in _GROUP}
    return tuple_(*(bindparam(name, type_=kind) for name, kind in kinds.items()), seq)


_GROUPS: Final = _groups()
_HEAD: Final = (
    select(*_READ)
    .where(*_WAITING, JobRow.desired == Desired.RUN)
    .where(tuple_(*_place(JobRow)) > _bound(literal(0)), tuple_(*_place(JobRow)) < _bound(literal(_LAST)))
    .where(or_(JobRow.not_before.is_(None), JobRow.not_before <= bindparam("now")))
    .order_by(*_place(JobRow))
    .limit(bindparam("places"))
)
_ONE: Final = select(*_READ).where(JobRow.id == bindparam("job_id"))
_KEPT: Final = select(*_READ).where(JobRow.kept_host_id > "")
"""By its own index, which a condition on the state would keep SQLite from; it is set in QUEUED alone."""


def heads(session: Session, now: datetime) -> list[Queued]:
    """The head of every line, each in order: highest priority first, then age."""
    groups = session.execute(_GROUPS).all()
    lines = [list(line) for _, line in groupby(sorted(groups), key=lambda group: tuple(group)[: len(_LINE)])]
    places = max(LEAST_HEADS, min(HEADS, PASS_HEADS // max(len(lines), 1)))
    return [job for line in lines for job in _head(session, line, places, now)]


def kept(session: Session) -> Sequence[Queued]:
    """The jobs for which a host is kept free, at any position."""
    return [job for job in session.execute(_KEPT).all() if job.state == JobState.QUEUED and job.desired == Desired.RUN]


def queued(session: Session, job_id: str) -> Queued:
    """One job, at any position."""
    return session.execute(_ONE, {"job_id": job_id}).one()


def _head(session: Session, line: Sequence[Row[Any]], places: int, now: datetime) -> Iterator[Queued]:
    """The head of one line, from its highest priority down, and the oldest of every priority."""
    for group in reversed(line):
        found = session.execute(_HEAD, {**group._mapping, "places": max(places, 1), "now": now}).all()
        yield from found
        places -= len(found)

"""What happened to many jobs at once, for those who watch them: one statement, and one for each job with news."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from orchestrator.db.database import Database
from orchestrator.db.job_tables import EventRow, JobRow
from orchestrator.db.states import TERMINAL, Desired, JobState, openai_status
from orchestrator.errors import InvalidRequest
from orchestrator.lifecycle.ownership import own_job
from orchestrator.queries.job_views import EventView

EVENTS_AT_ONCE: Final = 2_000  # of all jobs together: tens of milliseconds
_FEWEST_OF_A_JOB: Final = 20
_newest = select(func.max(EventRow.seq)).where(EventRow.job_id == JobRow.id).correlate(JobRow).scalar_subquery()
_WATCHED: Final = select(JobRow.id, JobRow.state, JobRow.desired, _newest).where(
    JobRow.id.in_(bindparam("job_ids", expanding=True))
)
_NEXT: Final = (
    select(EventRow)
    .where(EventRow.job_id == bindparam("job_id"), EventRow.seq > bindparam("cursor"))
    .order_by(EventRow.job_id, EventRow.seq)
    .limit(bindparam("limit"))
)


@dataclass(frozen=True)
class JobNews:
    """Events of a job behind a cursor, oldest first, each with its `seq`, which is the next cursor.

    `has_more`: further events are there already. `final`: no further event will ever come.
    """

    events: list[tuple[int, EventView]]
    status: str
    has_more: bool
    final: bool


def cursor_after(db: Database, tenant_id: str, job_id: str, after: str | None) -> int:
    """The cursor behind the event id `after` of a tenant's job, or before its first event.

    Raises: NotFound; InvalidRequest if the job has no such event.
    """
    with db.read() as session:
        own_job(session, tenant_id, job_id)
        if after is None:
            return 0
        cursor = session.scalar(select(EventRow.seq).where(EventRow.id == after, EventRow.job_id == job_id))
    if cursor is None:
        raise InvalidRequest(f"This job has no event '{after}' to continue after.", param="after")
    return cursor


def news_of(db: Database, cursors: Mapping[str, int]) -> dict[str, JobNews]:
    """The news of each job of `cursors` behind its cursor. About `EVENTS_AT_ONCE` events, shared among the jobs."""
    with db.read() as session:
        # States are read before the events, so that the event of a terminal state is among those read.
        found = session.execute(_WATCHED, {"job_ids": list(cursors)}).all()
        behind = {job_id for job_id, _, _, newest in found if (newest or 0) > cursors[job_id]}
        limit = max(_FEWEST_OF_A_JOB, EVENTS_AT_ONCE // max(1, len(behind)))
        events = {job_id: _next(session, job_id, cursors[job_id], limit) for job_id in behind}
    return {
        job_id: _news(events.get(job_id, []), limit, JobState(state), Desired(desired))
        for job_id, state, desired, _ in found
    }


def _next(session: Session, job_id: str, cursor: int, limit: int) -> list[tuple[int, EventView]]:
    rows = session.scalars(_NEXT, {"job_id": job_id, "cursor": cursor, "limit": limit})
    return [(row.seq, EventView.of(row)) for row in rows]


def _news(events: list[tuple[int, EventView]], limit: int, state: JobState, desired: Desired) -> JobNews:
    has_more = len(events) == limit
    return JobNews(events, openai_status(state, desired), has_more, state in TERMINAL and not has_more)

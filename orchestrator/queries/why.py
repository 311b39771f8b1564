"""`why`: what blocks a job, since when, and what would unblock it."""

from dataclasses import replace
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from orchestrator.bases.marks import same
from orchestrator.db.database import Database
from orchestrator.db.encoding_tables import EncodingRow, EncodingState
from orchestrator.db.host_states import HostState
from orchestrator.db.job_tables import AttemptRow, EventRow, JobRow
from orchestrator.db.states import Desired, JobState, openai_status
from orchestrator.db.tables import HostRow, UnusableBaseRow
from orchestrator.lifecycle.ownership import own_job
from orchestrator.lifecycle.turns import load_shares, turns_before
from orchestrator.queries.blockers import Constraint, EncodingFacts, JobFacts, explain_blocker


class WhyView(BaseModel):
    """What blocks a job, and what would unblock it."""

    object: Literal["fine_tuning.job.why"] = "fine_tuning.job.why"
    job: str
    status: str = Field(description="as OpenAI's clients see it")
    state: JobState
    blocked: bool
    constraint: Constraint
    reason: str = Field(description="in words")
    unblocks: str | None = Field(description="what would unblock it; null: nothing has to happen")
    since: int = Field(description="Unix seconds: when it entered this state")
    next_try_at: int | None = Field(description="Unix seconds, if a next try is scheduled")
    position: int | None = Field(description="position by turns among all jobs that wait for a seat; 1 is next")
    queue_length: int | None


def why(db: Database, tenant_id: str, job_id: str, now: datetime) -> WhyView:
    """What blocks a job. Raises: NotFound."""
    with db.read() as session:
        facts = load_facts(session, own_job(session, tenant_id, job_id), now)
    return explain(facts, now)


def explain(facts: JobFacts, now: datetime) -> WhyView:
    """The answer from the facts. Pure."""
    job, answer = facts.job, explain_blocker(facts, now)
    state = JobState(job.state)
    later = job.not_before if job.not_before is not None and job.not_before > now else None
    waits = state is JobState.QUEUED and job.desired == Desired.RUN
    return WhyView(
        job=job.id,
        status=openai_status(state, Desired(job.desired)),
        state=state,
        blocked=answer.constraint is not Constraint.NOTHING,
        constraint=answer.constraint,
        reason=answer.reason,
        unblocks=answer.unblocks,
        since=int(job.state_since.timestamp()),
        next_try_at=None if later is None else int(later.timestamp()),
        position=facts.ahead + 1 if waits else None,
        queue_length=facts.queued if waits else None,
    )


def load_facts(session: Session, job: JobRow, now: datetime) -> JobFacts:
    """Read the job, the queue and its host. Of other tenants it reads only counts, and when they were served."""
    mine = (AttemptRow.job_id == job.id, AttemptRow.number == job.attempt)
    own = select(HostRow.state).join(AttemptRow, AttemptRow.host_id == HostRow.id).where(*mine)
    host_state = session.scalar(own)
    last_warning = (EventRow.job_id == job.id, EventRow.level != "info", EventRow.created_at >= job.state_since)
    newest = select(EventRow.message).where(*last_warning).order_by(EventRow.seq.desc()).limit(1)
    facts = JobFacts(
        job=job,
        loading=host_state == HostState.STARTING,
        rows=_rows(job),
        encoding=_encoding(session, job) if job.state == JobState.VALIDATING else None,
        last_warning=session.scalar(newest),
        base_is_marked=job.state == JobState.PAUSED and bool(session.scalar(_marked(job))),
    )
    return _with_turns(session, facts, now) if job.state == JobState.QUEUED else facts


def _marked(job: JobRow) -> Select[bool]:
    return select(exists().where(*same(job, UnusableBaseRow)))


def _encoding(session: Session, job: JobRow) -> EncodingFacts | None:
    """How far the job's files are encoded; None: they are not checked yet."""
    keys = [key for key in (job.training_encoding, job.validation_encoding) if key is not None]
    rows = session.scalars(select(EncodingRow).where(EncodingRow.key.in_(keys))).all() if keys else ()
    if not rows:
        return None
    return EncodingFacts(
        running=any(row.state == EncodingState.RUNNING for row in rows),
        rows_read=sum(row.rows_read for row in rows),
        failures=max(row.failures for row in rows),
        next_try=max((row.not_before for row in rows if row.not_before is not None), default=None),
    )


def _rows(job: JobRow) -> int:
    """Of both of its files."""
    data = job.spec["data"]
    return sum(int(data[file]["rows"]) for file in ("training", "validation") if data.get(file) is not None)


def _with_turns(session: Session, facts: JobFacts, now: datetime) -> JobFacts:
    job = facts.job
    waiting = select(JobRow.tenant_id, func.count(), func.min(JobRow.seq)).where(_queued(now))
    queues = {tenant: (count, oldest) for tenant, count, oldest in session.execute(waiting.group_by(JobRow.tenant_id))}
    shares = load_shares(session, {tenant: oldest for tenant, (_, oldest) in queues.items()})
    own = (_queued(now), JobRow.tenant_id == job.tenant_id, _goes_before(job))
    ahead = _count(session, *own)
    if job.tenant_id in shares:
        others = ((shares[tenant], count) for tenant, (count, _) in queues.items() if tenant != job.tenant_id)
        ahead += turns_before(shares[job.tenant_id], ahead, others)
    return replace(
        facts,
        ahead=0 if job.kept_host_id else ahead,
        in_line=_count(session, *own, *same(job, JobRow)),
        queued=sum(count for count, _ in queues.values()),
    )


def _count(session: Session, *where: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).select_from(JobRow).where(*where)) or 0


def _queued(now: datetime) -> ColumnElement[bool]:
    """Jobs that wait for a seat, as in `orchestrator.scheduling.queue`."""
    due = or_(JobRow.not_before.is_(None), JobRow.not_before <= now)
    return and_(JobRow.finished_at.is_(None), JobRow.state == JobState.QUEUED, JobRow.desired == Desired.RUN, due)


def _goes_before(job: JobRow) -> ColumnElement[bool]:
    """Of one tenant's jobs."""
    return or_(JobRow.priority > job.priority, and_(JobRow.priority == job.priority, JobRow.seq < job.seq))

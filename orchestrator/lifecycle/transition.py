"""The only code that changes a job's state."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, update
from sqlalchemy.orm import Session

from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import DEADLINE_S, SEATED, TERMINAL, TRANSITIONS, JobState
from orchestrator.lifecycle.events import EventDraft, record
from orchestrator.webhooks.outbox import enqueue


class IllegalTransition(Exception):
    """The state machine has no such transition. A programming error, never a race: races are stale, not illegal."""


@dataclass(frozen=True)
class JobRef:
    """A job as it was read. Writes guarded by it apply only while the row still matches."""

    id: str
    tenant_id: str
    state: JobState
    attempt: int
    lease_token: str | None

    @classmethod
    def of(cls, row: JobRow) -> "JobRef":
        """The reference to `row` as it was read."""
        return cls(row.id, row.tenant_id, JobState(row.state), row.attempt, row.lease_token)


def transition(
    session: Session,
    job: JobRef,
    to: JobState,
    event: EventDraft,
    *,
    now: datetime,
    only_if: Sequence[ColumnElement[bool]] = (),
    **changes: Any,
) -> JobRef | None:
    """Move `job` to `to` and record `event`, both in the caller's transaction.

    The UPDATE is guarded by (id, state, attempt, lease token) and by `only_if`. Returns the new reference, or None
    if the job has changed in the meantime: then nothing was written, and the caller drops its action.

    `changes` are further columns of the row, written by the same UPDATE: into STOPPING always `stop_reason`, into
    BACKOFF `not_before`. The lease token and the reason to stop are cleared on leaving the states they belong to.

    Raises: IllegalTransition if `to` cannot be reached from `job.state`.
    """
    if to not in TRANSITIONS[job.state]:
        raise IllegalTransition(f"{job.id}: {job.state} -> {to}")
    over = to in TERMINAL
    values: dict[str, Any] = {
        "state": to,
        "state_since": now,
        "state_deadline": None if over else now + timedelta(seconds=DEADLINE_S[to]),
        "finished_at": now if over else None,
        "queue_reason": None,
        "queue_constraint": None,
        "kept_host_id": None,
        "stop_reason": None,
        **({} if to in SEATED else {"lease_token": None}),
        **changes,
    }
    if not _guarded_update(session, job, values, only_if):
        return None
    record(session, job.tenant_id, job.id, event, now, moved_to=to)
    if over:
        enqueue(session, job.tenant_id, job.id, to, now)
    return JobRef(
        job.id, job.tenant_id, to, values.get("attempt", job.attempt), values.get("lease_token", job.lease_token)
    )


def amend(session: Session, job: JobRef, only_if: Sequence[ColumnElement[bool]] = (), **changes: Any) -> bool:
    """Write columns other than the state under the same guard. False: the job has changed, and nothing was written."""
    if "state" in changes:
        raise IllegalTransition(f"{job.id}: state is written by transition() alone")
    return _guarded_update(session, job, changes, only_if)


def _guarded_update(
    session: Session, job: JobRef, values: dict[str, Any], only_if: Sequence[ColumnElement[bool]]
) -> bool:
    token = JobRow.lease_token.is_(None) if job.lease_token is None else JobRow.lease_token == job.lease_token
    guard = (JobRow.id == job.id, JobRow.state == job.state, JobRow.attempt == job.attempt, token, *only_if)
    result = session.execute(
        update(JobRow).where(*guard).values(**values).execution_options(synchronize_session=False).returning(JobRow.id)
    )
    return result.first() is not None

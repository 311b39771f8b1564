"""Sets a job's desired state: cancel, pause, resume. One guarded UPDATE; `reconcile_desired` carries it out."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, select, update

from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import TERMINAL, Desired, JobState, openai_status
from orchestrator.errors import InvalidRequest, ServiceError, TenantSuspended
from orchestrator.lifecycle.events import Actor, EventDraft, record
from orchestrator.lifecycle.ownership import own_job

_ASKED: Final = {Desired.CANCEL: "Cancellation", Desired.PAUSE: "Pause", Desired.RUN: "Resumption"}


@dataclass(frozen=True)
class DesiredOutcome:
    """Whether the desired state was written, and the job's state at that time."""

    accepted: bool
    job_id: str
    state: JobState
    desired: Desired

    def refusal(self, verb: str) -> ServiceError:
        """Why the job cannot be `verb`, for example "paused"."""
        if self.state in TERMINAL:
            status = openai_status(self.state, self.desired)
            message = f"Job has already completed: {self.job_id} is {status} and cannot be {verb}."
            return InvalidRequest(message, param="fine_tune_id", code="job_already_finished")
        if self.desired is Desired.SUSPEND:
            return TenantSuspended(param="fine_tune_id")
        if self.state is JobState.PUBLISHING:
            message = f"Job {self.job_id} is trained and its adapter is being published; it can no longer be {verb}."
            return InvalidRequest(message, param="fine_tune_id", code="job_publishing")
        message = f"Job {self.job_id} is being cancelled and cannot be {verb}."
        return InvalidRequest(message, param="fine_tune_id", code="job_being_cancelled")


def set_desired(
    db: Database,
    tenant_id: str,
    job_id: str,
    desired: Desired,
    by: Actor | None,
    *allowed: ColumnElement[bool],
) -> DesiredOutcome:
    """Write `desired` if the job is live and `allowed` holds; an event names who changed it. Raises: NotFound."""
    statement = (
        update(JobRow)
        .where(JobRow.id == job_id, JobRow.tenant_id == tenant_id, JobRow.finished_at.is_(None), *allowed)
        .values(desired=desired)
        .execution_options(synchronize_session=False)
        .returning(JobRow.id)
    )
    with db.write() as session:
        before = session.scalar(select(JobRow.desired).where(JobRow.id == job_id))
        accepted = session.execute(statement).first() is not None
        job = own_job(session, tenant_id, job_id)
        if accepted and by is not None and before != desired:
            record(session, tenant_id, job_id, EventDraft(f"{_ASKED[desired]} was requested", data=by.data), by.at)
        return DesiredOutcome(accepted, job_id, JobState(job.state), Desired(job.desired))


def cancel(db: Database, tenant_id: str, job_id: str, by: Actor | None = None) -> None:
    """Cancel a job, unless its registration has begun: the first of owner and publisher to write wins. Idempotent.

    Raises: NotFound; InvalidRequest if it is already over or its adapter is being registered.
    """
    answer = set_desired(db, tenant_id, job_id, Desired.CANCEL, by, JobRow.registering_at.is_(None))
    if not answer.accepted and answer.state is not JobState.CANCELLED:
        raise answer.refusal("cancelled")


def pause(db: Database, tenant_id: str, job_id: str, by: Actor | None = None) -> None:
    """Have a job save a checkpoint and vacate its seat after the current step. Idempotent.

    A job that finishes its last step first is published and succeeds.

    Raises: NotFound; InvalidRequest if it is over, publishing or being cancelled.
    """
    allowed = (JobRow.state != JobState.PUBLISHING, JobRow.desired != Desired.CANCEL)
    answer = set_desired(db, tenant_id, job_id, Desired.PAUSE, by, *allowed)
    if not answer.accepted:
        raise answer.refusal("paused")


def resume(db: Database, tenant_id: str, job_id: str, by: Actor | None = None) -> None:
    """Have a paused job continue. It changes nothing for a job that is not paused.

    Raises: NotFound; InvalidRequest if it is over or being cancelled.
    """
    allowed = JobRow.desired.not_in((Desired.CANCEL, Desired.SUSPEND))  # of a request older than the suspension
    answer = set_desired(db, tenant_id, job_id, Desired.RUN, by, allowed)
    if not answer.accepted:
        raise answer.refusal("resumed")

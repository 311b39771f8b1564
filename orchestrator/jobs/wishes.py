"""Wishes: what an owner asks of a job is written down here, in one guarded UPDATE; the loops carry it out."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, update

from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.errors import InvalidRequest
from orchestrator.jobs.queries import own_job
from orchestrator.jobs.states import TERMINAL, Desired, JobState, openai_status


@dataclass(frozen=True)
class Answer:
    """Whether a wish was written down, and how the job stood then."""

    granted: bool
    job_id: str
    state: JobState
    desired: Desired

    def refusal(self, verb: str) -> InvalidRequest:
        """Why the job cannot be `verb`, for example "paused"."""
        if self.state in TERMINAL:
            status = openai_status(self.state, self.desired)
            message = f"Job has already completed: {self.job_id} is {status} and cannot be {verb}."
            return InvalidRequest(message, param="fine_tune_id", code="job_already_finished")
        if self.state is JobState.PUBLISHING:
            message = f"Job {self.job_id} is trained and its adapter is being published; it cannot be {verb} any more."
            return InvalidRequest(message, param="fine_tune_id", code="job_publishing")
        message = f"Job {self.job_id} is being cancelled and cannot be {verb}."
        return InvalidRequest(message, param="fine_tune_id", code="job_being_cancelled")


def ask(db: Database, tenant_id: str, job_id: str, desired: Desired, *allowed: ColumnElement[bool]) -> Answer:
    """Write `desired` where the job is alive and `allowed` holds. Raises: NotFound."""
    wish = (
        update(JobRow)
        .where(JobRow.id == job_id, JobRow.tenant_id == tenant_id, JobRow.finished_at.is_(None), *allowed)
        .values(desired=desired)
        .execution_options(synchronize_session=False)
        .returning(JobRow.id)
    )
    with db.write() as session:
        granted = session.execute(wish).first() is not None
        job = own_job(session, tenant_id, job_id)
        return Answer(granted, job_id, JobState(job.state), Desired(job.desired))

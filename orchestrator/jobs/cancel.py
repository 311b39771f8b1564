"""Cancelling: the tenant's wish is written down; the loops carry it out."""

from datetime import datetime

from sqlalchemy import update

from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.errors import InvalidRequest
from orchestrator.jobs.queries import get_job, own_job
from orchestrator.jobs.states import OPENAI_STATUS, TERMINAL, Desired, JobState
from orchestrator.jobs.views import JobView


def cancel(db: Database, tenant_id: str, job_id: str, now: datetime) -> JobView:
    """Ask for the end of a job; repeating changes nothing. Raises: NotFound; InvalidRequest if it is over already."""
    wish = (
        update(JobRow)
        .where(JobRow.id == job_id, JobRow.tenant_id == tenant_id, JobRow.finished_at.is_(None))
        .values(desired=Desired.CANCEL)
        .execution_options(synchronize_session=False)
    )
    with db.write() as session:
        session.execute(wish)
        state = JobState(own_job(session, tenant_id, job_id).state)
    if state in TERMINAL and state is not JobState.CANCELLED:
        raise InvalidRequest(
            f"Job has already completed: {job_id} is {OPENAI_STATUS[state]} and cannot be cancelled.",
            param="fine_tune_id",
            code="job_already_finished",
        )
    return get_job(db, tenant_id, job_id, now)

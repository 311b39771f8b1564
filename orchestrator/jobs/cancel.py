"""Cancelling: allowed until the registry is asked for a version. Whoever writes first, owner or publisher, wins."""

from datetime import datetime

from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.jobs.queries import get_job
from orchestrator.jobs.states import Desired, JobState
from orchestrator.jobs.views import JobView
from orchestrator.jobs.wishes import ask


def cancel(db: Database, tenant_id: str, job_id: str, now: datetime) -> JobView:
    """Ask for the end of a job; repeating changes nothing.

    Raises: NotFound; InvalidRequest if it is over already or its adapter is being registered.
    """
    answer = ask(db, tenant_id, job_id, Desired.CANCEL, JobRow.registering_at.is_(None))
    if not answer.granted and answer.state is not JobState.CANCELLED:
        raise answer.refusal("cancelled")
    return get_job(db, tenant_id, job_id, now)

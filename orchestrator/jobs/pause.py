"""Pausing and resuming: the seat is given to others, and training goes on later from a checkpoint made on leaving."""

from datetime import datetime

from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.jobs.queries import get_job
from orchestrator.jobs.states import Desired, JobState
from orchestrator.jobs.views import JobView
from orchestrator.jobs.wishes import ask


def pause(db: Database, tenant_id: str, job_id: str, now: datetime) -> JobView:
    """Ask a job to give its seat up after the step it is in; repeating changes nothing.

    A job whose last step is done before it hears of this goes on to publish, and succeeds.

    Raises: NotFound; InvalidRequest if it is over, publishing or being cancelled.
    """
    allowed = (JobRow.state != JobState.PUBLISHING, JobRow.desired != Desired.CANCEL)
    answer = ask(db, tenant_id, job_id, Desired.PAUSE, *allowed)
    if not answer.granted:
        raise answer.refusal("paused")
    return get_job(db, tenant_id, job_id, now)


def resume(db: Database, tenant_id: str, job_id: str, now: datetime) -> JobView:
    """Ask a paused job to go on; nothing changes for one that was not asked to pause.

    Raises: NotFound; InvalidRequest if it is over or being cancelled.
    """
    answer = ask(db, tenant_id, job_id, Desired.RUN, JobRow.desired != Desired.CANCEL)
    if not answer.granted:
        raise answer.refusal("resumed")
    return get_job(db, tenant_id, job_id, now)

"""Looks up jobs by owner: another tenant's job does not exist."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from orchestrator.db.job_tables import JobRow
from orchestrator.errors import NotFound


def own_job(session: Session, tenant_id: str, job_id: str) -> JobRow:
    """The row, for use inside the orchestrator. Raises: NotFound, also for another tenant's job."""
    row = session.scalar(select(JobRow).where(JobRow.id == job_id, JobRow.tenant_id == tenant_id))
    if row is None:
        raise no_such_job(job_id)
    return row


def no_such_job(job_id: str) -> NotFound:
    """OpenAI's message for a job that does not exist."""
    return NotFound(f"Could not find fine tune: {job_id}", param="fine_tune_id", code="fine_tune_not_found")

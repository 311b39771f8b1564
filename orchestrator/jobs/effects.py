"""What the end of a job brings about beyond its own row, in the same transaction: neither is without the other."""

from datetime import datetime

from sqlalchemy.orm import Session

from orchestrator.jobs.states import JobState
from orchestrator.webhooks.outbox import enqueue


def on_end(session: Session, tenant_id: str, job_id: str, ended_as: JobState, now: datetime) -> None:
    """Called by `transition` on entering a terminal state. Only rows are written here; loops carry them out."""
    enqueue(session, tenant_id, job_id, ended_as, now)

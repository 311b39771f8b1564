"""Suspends a tenant and lets it go on: its keys are refused, its jobs rest as if paused, and nothing is lost.

Jobs whose owner wants them to run are marked `suspend` instead; `reconcile_desired` takes them out of the queue, and
seated ones leave after a checkpoint. What the owner had paused or cancelled stays so. An adapter that is finished is
still published.
"""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, update
from sqlalchemy.orm import Session

from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import Desired, JobState
from orchestrator.db.tables import TenantRow
from orchestrator.tenancy.lock import lock_tenant
from orchestrator.tenancy.tenants import get_tenant
from orchestrator.tenancy.views import TenantView
from orchestrator.text import SingleLine


class Suspension(BaseModel):
    """An admin's request to suspend a tenant."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[SingleLine, Field(min_length=1, max_length=200)] | None = Field(
        None, description="shown to the tenant"
    )


def suspend(db: Database, id_or_slug: str, suspension: Suspension, now: datetime) -> TenantView:
    """Suspend the tenant. Idempotent; a repeat replaces the reason. Raises: NotFound."""
    tenant_id = get_tenant(db, id_or_slug).id
    with db.write() as session:
        lock_tenant(session, tenant_id)  # a submission counts as before or after
        row = session.get_one(TenantRow, tenant_id)
        row.suspended_at, row.suspension_reason = row.suspended_at or now, suspension.reason
        _swap(session, tenant_id, Desired.RUN, Desired.SUSPEND, JobRow.state != JobState.PUBLISHING)
    return TenantView.of(row)


def resume_tenant(db: Database, id_or_slug: str) -> TenantView:
    """End the suspension; its jobs continue from their newest checkpoints. Idempotent. Raises: NotFound."""
    tenant_id = get_tenant(db, id_or_slug).id
    with db.write() as session:
        lock_tenant(session, tenant_id)
        row = session.get_one(TenantRow, tenant_id)
        row.suspended_at = row.suspension_reason = None
        _swap(session, tenant_id, Desired.SUSPEND, Desired.RUN)
    return TenantView.of(row)


def _swap(session: Session, tenant_id: str, old: Desired, new: Desired, *only: ColumnElement[bool]) -> None:
    live = (JobRow.tenant_id == tenant_id, JobRow.finished_at.is_(None), *only)
    swap = update(JobRow).where(*live, JobRow.desired == old).values(desired=new)
    session.execute(swap.execution_options(synchronize_session=False))

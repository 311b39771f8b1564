"""The state that a submission depends on, read under the tenant lock: in one statement, unless it has a key."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, exists, func, select
from sqlalchemy.orm import Session

from orchestrator.db.job_tables import JobRow
from orchestrator.db.tables import TenantRow, UnusableBaseRow
from orchestrator.submission.datasets import FILES, Files, by_id, files_asked
from orchestrator.submission.idempotency import SAME_POST, RequestFingerprint, find_by_key
from orchestrator.submission.request import JobRequest


@dataclass(frozen=True)
class SubmissionContext:
    """The tenant's state when its submission arrives."""

    earlier: str | None
    """The job that this POST created earlier."""
    live_jobs: int
    """Jobs that are not over."""
    base_is_marked: bool
    """Some way to hold the base is marked unusable."""
    files: Files
    """Files that the submission names and the tenant can see."""
    suspended: bool = False
    """Whether the tenant was suspended since its key was accepted."""


_CONTEXT: Final = FILES.add_columns(
    SAME_POST.scalar_subquery().label("same_post"),
    select(func.count())
    .select_from(JobRow)
    .where(JobRow.tenant_id == bindparam("tenant_id"), JobRow.finished_at.is_(None))
    .scalar_subquery()
    .label("live"),
    select(TenantRow.suspended_at.is_not(None))
    .where(TenantRow.id == bindparam("tenant_id"))
    .scalar_subquery()
    .label("suspended"),
    exists().where(UnusableBaseRow.base_id == bindparam("base_id")).label("base_is_marked"),
)


def load_context(session: Session, request: JobRequest, fingerprint: RequestFingerprint) -> SubmissionContext:
    """Read the context. Raises: IdempotencyMismatch for a key that was used with another body."""
    asked = files_asked(fingerprint.tenant_id, request, fingerprint.arrived_at) | fingerprint.same_post
    asked |= {"base_id": request.model}
    found = session.execute(_CONTEXT, asked).all()
    earlier = found[0].same_post if fingerprint.key is None else find_by_key(session, fingerprint, fingerprint.key)
    marked, suspended = bool(found[0].base_is_marked), bool(found[0].suspended)
    return SubmissionContext(earlier, found[0].live, marked, by_id(found), suspended)

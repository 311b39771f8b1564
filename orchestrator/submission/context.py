"""What a submission is decided on, read under the lock of its tenant: in one statement, unless it brings a key."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, bindparam, func, select

from orchestrator.db.job_tables import JobRow
from orchestrator.submission.datasets import FILES, Files, by_id, files_asked
from orchestrator.submission.idempotency import SAME_POST, RequestFingerprint, find_by_key
from orchestrator.submission.request import JobRequest


@dataclass(frozen=True)
class SubmissionContext:
    """How a tenant stands as its submission arrives."""

    earlier: str | None
    """The job that this very POST made before."""
    live_jobs: int
    """Those that are not over."""
    files: Files
    """Those that the submission names and the tenant sees."""


_CONTEXT: Final = FILES.add_columns(
    SAME_POST.scalar_subquery().label("same_post"),
    select(func.count())
    .select_from(JobRow)
    .where(JobRow.tenant_id == bindparam("tenant_id"), JobRow.finished_at.is_(None))
    .scalar_subquery()
    .label("live"),
)


def load_context(connection: Connection, request: JobRequest, mark: RequestFingerprint) -> SubmissionContext:
    """Read it. Raises: IdempotencyMismatch for a key that was used for another body."""
    asked = files_asked(mark.tenant_id, request, mark.arrived_at) | mark.same_post
    found = connection.execute(_CONTEXT, asked).all()
    earlier = found[0].same_post if mark.key is None else find_by_key(connection, mark, mark.key)
    return SubmissionContext(earlier, found[0].live, by_id(found))

"""Deletes files, on request or at expiry. A file that a live job reads stays."""

from contextlib import suppress
from datetime import datetime

from sqlalchemy import ColumnElement, exists, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute

from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.db.tables import FileRow
from orchestrator.errors import InvalidRequest, StorageDown
from orchestrator.files.queries import visible_file
from orchestrator.files.views import DeletedView
from orchestrator.issues.parts import erase_issues_of_files
from orchestrator.storage.objects import remove
from orchestrator.tenancy.lock import lock_tenant
from workers.contract.failpoints import failpoint


def delete_file(db: Database, tenant_id: str, file_id: str, now: datetime) -> DeletedView:
    """Delete a file and its bytes. Raises: NotFound; InvalidRequest while a job that is not over uses it."""
    with db.write() as session:
        lock_tenant(session, tenant_id)
        row = visible_file(session, tenant_id, file_id, now)
        using = session.scalars(select(JobRow.id).where(_used_by_live_job(row.id)).order_by(JobRow.seq)).first()
        if using is not None:
            raise InvalidRequest(
                f"File {file_id} is in use by {using}. Cancel that job or wait for its end.",
                param="file_id",
                code="file_in_use",
            )
        row.deleted_at = now
        erase_issues_of_files(session, [row.id])
    with suppress(StorageDown):  # the file is no longer visible; `gc` removes its bytes
        remove(row.uri.rpartition("/")[0])
    return DeletedView(id=file_id, object="file")


def remove_expired(db: Database, now: datetime, limit: int = 100) -> int:
    """Delete files past their `expires_at`, at most `limit`. Returns how many. Called by a housekeeping loop."""
    used = exists().where(_used_by_live_job(FileRow.id))
    due = select(FileRow.id).where(FileRow.expires_at <= now, FileRow.deleted_at.is_(None), ~used).limit(limit)
    with db.write() as session:
        gone = update(FileRow).where(FileRow.id.in_(due), FileRow.deleted_at.is_(None)).values(deleted_at=now)
        files = session.execute(
            gone.returning(FileRow.id, FileRow.uri).execution_options(synchronize_session=False)
        ).all()
        erase_issues_of_files(session, [file.id for file in files])
    for file in files:
        failpoint("expire.unlinked")
        remove(file.uri.rpartition("/")[0])
    return len(files)


def _used_by_live_job(file_id: str | InstrumentedAttribute[str]) -> ColumnElement[bool]:
    used = or_(JobRow.training_file_id == file_id, JobRow.validation_file_id == file_id)
    return used & JobRow.finished_at.is_(None)

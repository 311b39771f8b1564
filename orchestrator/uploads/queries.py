"""Queries for a tenant's own uploads and whether they are open."""

from datetime import datetime

from sqlalchemy import Update, select, update
from sqlalchemy.orm import Session

from orchestrator.db.upload_tables import UploadRow
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.storage.layout import tenant_uri


def own_upload(session: Session, tenant_id: str, upload_id: str) -> UploadRow:
    """The row. Raises: NotFound, also for another tenant's."""
    row = session.scalar(select(UploadRow).where(UploadRow.id == upload_id, UploadRow.tenant_id == tenant_id))
    if row is None:
        raise NotFound(f"No such Upload object: {upload_id}", param="upload_id")
    return row


def open_upload(session: Session, tenant_id: str, upload_id: str, now: datetime) -> UploadRow:
    """The row of an open upload. Raises: NotFound; InvalidRequest if it is not open."""
    row = own_upload(session, tenant_id, upload_id)
    if row.status != "pending" or row.expires_at <= now:
        raise not_pending(row, now)
    return row


def while_pending(tenant_id: str, upload_id: str, now: datetime) -> Update:
    """An UPDATE that matches the upload only while it is open."""
    mine = (UploadRow.id == upload_id, UploadRow.tenant_id == tenant_id)
    waits = (UploadRow.status == "pending", UploadRow.expires_at > now)
    return update(UploadRow).where(*mine, *waits).execution_options(synchronize_session=False)


def not_pending(row: UploadRow, now: datetime) -> InvalidRequest:
    """The error for an upload that is not open."""
    status = "expired" if row.status == "pending" and row.expires_at <= now else row.status
    return InvalidRequest(f"Upload {row.id} is {status}. Create a new one.", param="upload_id", code=f"upload_{status}")


def parts_uri(storage_uri: str, tenant_id: str, upload_id: str) -> str:
    """The folder of an upload's parts."""
    return tenant_uri(storage_uri, tenant_id, "uploads", upload_id)

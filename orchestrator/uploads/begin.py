"""Creates and cancels uploads."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Final

from pydantic import Field, StrictInt
from sqlalchemy import func, select

from orchestrator.db.database import Database
from orchestrator.db.upload_tables import UploadRow
from orchestrator.errors import QuotaExceeded, TooLarge
from orchestrator.files.upload import NewFile
from orchestrator.files.validator_pool import ValidatorPool, shared_validators
from orchestrator.ids import new_id
from orchestrator.tenancy.lock import lock_tenant
from orchestrator.text import SingleLine
from orchestrator.uploads.queries import not_pending, own_upload, while_pending
from orchestrator.uploads.views import UploadView

LIFETIME: Final = timedelta(hours=1)
MAX_PENDING: Final = 100  # open uploads per tenant
MAX_BYTES: Final = 8 * 2**30


class NewUpload(NewFile):
    """A tenant's description of an upload before sending it."""

    bytes: StrictInt = Field(ge=0, le=MAX_BYTES, description="total size of the parts")
    mime_type: Annotated[
        SingleLine, Field(min_length=1, max_length=255, description="a label; the bytes say what it is")
    ]


@dataclass(frozen=True)
class PartUploadLimits:
    """The destination of parts and files, the maximum size of an upload, and who checks the files."""

    storage_uri: str
    max_upload_bytes: int
    validators: ValidatorPool = field(default_factory=shared_validators)


def begin(db: Database, tenant_id: str, limits: PartUploadLimits, new: NewUpload, now: datetime) -> UploadView:
    """Create an upload. Raises: TooLarge; QuotaExceeded while `MAX_PENDING` others are open."""
    if new.bytes > limits.max_upload_bytes:
        raise TooLarge(
            f"The upload is {new.bytes:,} bytes long; at most {limits.max_upload_bytes:,} are allowed. Split it.",
            param="bytes",
        )
    row = UploadRow(
        id=new_id("upload_"),
        tenant_id=tenant_id,
        filename=new.filename,
        purpose=new.purpose,
        mime_type=new.mime_type,
        bytes=new.bytes,
        format=new.format,
        file_expires_s=None if new.expires_after is None else new.expires_after.seconds,
        status="pending",
        created_at=now,
        expires_at=now + LIFETIME,
        file_id=None,
        collected_at=None,
    )
    waiting = select(func.count()).where(
        UploadRow.tenant_id == tenant_id, UploadRow.status == "pending", UploadRow.expires_at > now
    )
    with db.write() as session:
        lock_tenant(session, tenant_id)
        if (session.scalar(waiting) or 0) >= MAX_PENDING:
            raise QuotaExceeded(f"{MAX_PENDING} uploads wait for their parts. Complete or cancel one.")
        session.add(row)
    return UploadView.of(row, None, now)


def cancel(db: Database, tenant_id: str, upload_id: str, now: datetime) -> UploadView:
    """Cancel an upload; `gc` removes its parts later. Idempotent. Raises: NotFound; InvalidRequest."""
    with db.write() as session:
        session.execute(while_pending(tenant_id, upload_id, now).values(status="cancelled"))
        row = own_upload(session, tenant_id, upload_id)
    if row.status != "cancelled":
        raise not_pending(row, now)
    return UploadView.of(row, None, now)

"""OpenAI's `Upload` and `UploadPart`."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from orchestrator.db.upload_tables import UploadPartRow, UploadRow
from orchestrator.files.views import FileView

UploadStatus = Literal["pending", "completed", "cancelled", "expired"]


class UploadView(BaseModel):
    """An upload object."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int = Field(description="total size of the parts")
    created_at: int = Field(description="Unix seconds")
    expires_at: int = Field(description="no part is accepted after this")
    filename: str
    purpose: str
    status: UploadStatus
    file: FileView | None = Field(None, description="once completed")

    @classmethod
    def of(cls, row: UploadRow, file: FileView | None, now: datetime) -> "UploadView":
        """The view of a row at `now`."""
        return cls(
            id=row.id,
            bytes=row.bytes,
            created_at=int(row.created_at.timestamp()),
            expires_at=int(row.expires_at.timestamp()),
            filename=row.filename,
            purpose=row.purpose,
            status="expired" if row.status == "pending" and row.expires_at <= now else row.status,
            file=file,
        )


class UploadPartView(BaseModel):
    """A part object."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int = Field(description="Unix seconds")
    upload_id: str

    @classmethod
    def of(cls, row: UploadPartRow) -> "UploadPartView":
        """The view of a row."""
        return cls(id=row.id, created_at=int(row.created_at.timestamp()), upload_id=row.upload_id)

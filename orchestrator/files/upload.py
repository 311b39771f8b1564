"""An upload: one pass over the bytes that stores, measures, digests and validates them."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO, Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from orchestrator.db.database import Database
from orchestrator.db.tables import FileRow
from orchestrator.errors import TooLarge
from orchestrator.files.storage import CHUNK_BYTES, file_uri, open_write, remove, settle
from orchestrator.files.validate import DatasetValidator, Findings
from orchestrator.files.views import FileView
from orchestrator.ids import new_id
from orchestrator.text import Line
from workers.contract.failpoints import failpoint


def _plain_name(name: str) -> str:
    if "/" in name or "\\" in name or name in {".", ".."}:
        raise ValueError("must be a plain file name without path characters (/ \\ ..)")
    return name


class ExpiresAfter(BaseModel):
    """When the file expires."""

    model_config = ConfigDict(extra="forbid")

    anchor: Literal["created_at"]
    seconds: int = Field(ge=3_600, le=2_592_000)


class NewFile(BaseModel):
    """What a tenant says about an upload."""

    model_config = ConfigDict(extra="forbid")

    filename: Annotated[Line, AfterValidator(_plain_name), Field(min_length=1, max_length=255)]
    purpose: Literal["fine-tune"]
    expires_after: ExpiresAfter | None = None


@dataclass(frozen=True)
class Shelf:
    """Where uploads go, and how large one may be."""

    storage_uri: str
    max_file_bytes: int


def upload(db: Database, tenant_id: str, shelf: Shelf, new: NewFile, stream: IO[bytes], now: datetime) -> FileView:
    """Store the stream as a file of the tenant. A file with bad lines is kept, with status `error`.

    Raises: TooLarge, after removing what was written.
    """
    file_id = new_id("file-")
    uri = file_uri(shelf.storage_uri, tenant_id, file_id)
    try:
        size, digest, findings = _store(uri, stream, shelf.max_file_bytes)
    except BaseException:
        remove(uri.rpartition("/")[0])
        raise
    failpoint("upload.stored")
    expires = None if new.expires_after is None else now + timedelta(seconds=new.expires_after.seconds)
    row = FileRow(
        id=file_id,
        tenant_id=tenant_id,
        filename=new.filename,
        purpose=new.purpose,
        bytes=size,
        sha256=digest,
        uri=uri,
        status="error" if findings.issues else "processed",
        status_details=findings.status_details,
        format=findings.format,
        rows=findings.rows,
        issues=[issue.model_dump() for issue in findings.issues] or None,
        issue_count=findings.issue_count,
        created_at=now,
        expires_at=expires,
        deleted_at=None,
    )
    with db.write() as session:
        session.add(row)
    return FileView.of(row)


def _store(uri: str, stream: IO[bytes], max_bytes: int) -> tuple[int, str, Findings]:
    """Copy `stream` to `uri`. Returns size in bytes, hex sha256 and what validation found. Raises: TooLarge."""
    size, digest, validator = 0, hashlib.sha256(), DatasetValidator()
    with open_write(uri) as target:
        while chunk := stream.read(CHUNK_BYTES):
            size += len(chunk)
            if size > max_bytes:
                raise TooLarge(f"The file is larger than {max_bytes:,} bytes, the most this service takes. Split it.")
            target.write(chunk)
            digest.update(chunk)
            validator.feed(chunk)
        settle(target)
    return size, digest.hexdigest(), validator.finish()

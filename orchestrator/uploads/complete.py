"""Completes an upload: joins its parts in the given order into one validated file."""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from orchestrator.db.database import Database
from orchestrator.db.tables import FileRow
from orchestrator.db.upload_tables import UploadPartRow, UploadRow
from orchestrator.errors import InvalidRequest
from orchestrator.files.queries import file_view, visible
from orchestrator.files.upload import ExpiresAfter, NewFile, StoredFile, store
from orchestrator.storage.objects import open_chunks
from orchestrator.text import SingleLine, matching
from orchestrator.uploads.begin import PartUploadLimits
from orchestrator.uploads.parts import MAX_PARTS
from orchestrator.uploads.queries import not_pending, open_upload, own_upload
from orchestrator.uploads.views import UploadView

_MD5 = r"^[0-9a-fA-F]{32}$"


class CompleteUpload(BaseModel):
    """The order of the parts, and an optional checksum of the file."""

    model_config = ConfigDict(extra="forbid")

    part_ids: list[Annotated[SingleLine, Field(min_length=1, max_length=64)]] = Field(max_length=MAX_PARTS)
    md5: (
        Annotated[
            str, Field(max_length=32, json_schema_extra={"pattern": _MD5}), matching(_MD5, "32 hexadecimal digits")
        ]
        | None
    ) = Field(None, description="of the whole file, in hex; checked if given")


def complete(
    db: Database, tenant_id: str, limits: PartUploadLimits, upload_id: str, order: CompleteUpload, now: datetime
) -> UploadView:
    """Create the file. Repeating returns the same file.

    Raises: NotFound; InvalidRequest when parts, size or checksum do not match, which leaves the upload unchanged;
    StorageDown, StorageFull, ValidationInterrupted.
    """
    with db.read() as session:
        upload = own_upload(session, tenant_id, upload_id)
        if upload.status == "completed":
            return _made(session, upload, now)
        open_upload(session, tenant_id, upload_id, now)
        parts = _ordered(session, upload, order.part_ids)
    content = _content(parts, order.md5)
    stored = store(limits.storage_uri, tenant_id, content, limits.max_upload_bytes, limits.validators, upload.format)
    if not _commit(db, upload, stored, now):
        stored.discard()
    with db.read() as session:
        return _made(session, own_upload(session, tenant_id, upload_id), now)


def _ordered(session: Session, upload: UploadRow, part_ids: Sequence[str]) -> list[UploadPartRow]:
    rows = session.scalars(select(UploadPartRow).where(UploadPartRow.upload_id == upload.id))
    known = {row.id: row for row in rows}
    if missing := next((part for part in part_ids if part not in known), None):
        raise InvalidRequest(f"Upload {upload.id} has no part {missing}.", param="part_ids", code="part_not_found")
    if len(set(part_ids)) != len(part_ids):
        raise InvalidRequest("A part is named twice.", param="part_ids")
    parts = [known[part] for part in part_ids]
    if (size := sum(part.bytes for part in parts)) != upload.bytes:
        raise InvalidRequest(
            f"The parts add up to {size:,} bytes, but the upload was announced with {upload.bytes:,}.",
            param="part_ids",
            code="upload_size_mismatch",
        )
    return parts


def _content(parts: Sequence[UploadPartRow], md5: str | None) -> Iterator[bytes]:
    """The bytes of all parts. Raises InvalidRequest at the end if the checksum does not match."""
    digest = hashlib.md5(usedforsecurity=False)
    for part in parts:
        for chunk in open_chunks(part.uri):
            digest.update(chunk)
            yield chunk
    if md5 is not None and digest.hexdigest() != md5.lower():
        raise InvalidRequest(
            f"The parts have the md5 {digest.hexdigest()}, not {md5.lower()}. Send the damaged part again.",
            param="md5",
            code="checksum_mismatch",
        )


def _commit(db: Database, upload: UploadRow, stored: StoredFile, now: datetime) -> bool:
    """Write file and upload in one transaction. False: another completion or a cancellation was first."""
    seconds = upload.file_expires_s
    expiry = None if seconds is None else ExpiresAfter(anchor="created_at", seconds=seconds)
    new = NewFile(filename=upload.filename, purpose=upload.purpose, expires_after=expiry)
    with db.write() as session:
        file = stored.record(session, new, now)
        waits = (UploadRow.id == upload.id, UploadRow.status == "pending")
        done = update(UploadRow).where(*waits).values(status="completed", file_id=file.id).returning(UploadRow.id)
        if session.execute(done.execution_options(synchronize_session=False)).first() is None:
            session.rollback()
            return False
    return True


def _made(session: Session, upload: UploadRow, now: datetime) -> UploadView:
    """The completed upload. Raises: InvalidRequest if it ended in another way."""
    if upload.status != "completed":
        raise not_pending(upload, now)
    file = session.scalar(select(FileRow).where(FileRow.id == upload.file_id, visible(upload.tenant_id, now)))
    return UploadView.of(upload, None if file is None else file_view(session, file), now)

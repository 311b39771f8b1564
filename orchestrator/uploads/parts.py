"""Adds a part: writes its bytes to storage, then its row."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import IO, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from orchestrator.db.database import Database
from orchestrator.db.upload_tables import UploadPartRow, UploadRow
from orchestrator.errors import InvalidRequest, ServiceError, StorageDown, TooLarge
from orchestrator.files.upload import read_chunks
from orchestrator.ids import new_id
from orchestrator.storage.objects import remove, write_chunks
from orchestrator.uploads.begin import PartUploadLimits
from orchestrator.uploads.queries import not_pending, open_upload, own_upload, parts_uri, while_pending
from orchestrator.uploads.views import UploadPartView

MAX_PART_BYTES: Final = 64 * 2**20  # the part size of OpenAI's client
MAX_PARTS: Final = 2_000
MAX_SENDS: Final = 3  # OpenAI's client retries twice; each try may leave a part behind


def add_part(
    db: Database, tenant_id: str, limits: PartUploadLimits, upload_id: str, stream: IO[bytes], now: datetime
) -> UploadPartView:
    """Store one part. Raises: NotFound, InvalidRequest, TooLarge, StorageDown, StorageFull."""
    with db.read() as session:
        open_upload(session, tenant_id, upload_id, now)
    part_id = new_id("part_")
    uri = f"{parts_uri(limits.storage_uri, tenant_id, upload_id)}/{part_id}"
    try:
        size = write_chunks(uri, _bounded(stream))
        row = UploadPartRow(id=part_id, upload_id=upload_id, bytes=size, uri=uri, created_at=now)
        with db.write() as session:
            _admit(session, tenant_id, row, now)
    except ServiceError:  # the row was not written; if the database's answer is unknown, `gc` cleans up
        with suppress(StorageDown):
            remove(uri)
        raise
    return UploadPartView.of(row)


def _admit(session: Session, tenant_id: str, part: UploadPartRow, now: datetime) -> None:
    """Add the row if the upload accepts it. The UPDATE locks the upload, so that parts are counted one at a time."""
    touched = session.execute(
        while_pending(tenant_id, part.upload_id, now).values(status="pending").returning(UploadRow)
    )
    upload = touched.scalar_one_or_none()
    if upload is None:
        raise not_pending(own_upload(session, tenant_id, part.upload_id), now)
    mine = UploadPartRow.upload_id == part.upload_id
    count, held = session.execute(
        select(func.count(), func.coalesce(func.sum(UploadPartRow.bytes), 0)).where(mine)
    ).one()
    if count >= MAX_PARTS:
        raise InvalidRequest(f"The upload already has {count} parts; at most {MAX_PARTS} are allowed.", param="data")
    if held + part.bytes > upload.bytes * MAX_SENDS:
        raise InvalidRequest(
            f"The parts so far are {held:,} bytes and this one {part.bytes:,}, but the upload was announced with "
            f"{upload.bytes:,}. Create a new upload with the right size.",
            param="data",
            code="upload_too_many_bytes",
        )
    session.add(part)


def _bounded(stream: IO[bytes]) -> Iterator[bytes]:
    size = 0
    for chunk in read_chunks(stream):
        size += len(chunk)
        if size > MAX_PART_BYTES:
            raise TooLarge(f"The part is larger than {MAX_PART_BYTES:,} bytes.", param="data", code="part_too_large")
        yield chunk

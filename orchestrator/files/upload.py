"""Uploads: turns a byte stream into a tenant's file."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import IO, Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from orchestrator.db.database import Database
from orchestrator.db.tables import FileRow
from orchestrator.errors import StorageDown, TooLarge
from orchestrator.files.validate import Findings
from orchestrator.files.validator_pool import FileCheck, ValidatorPool, shared_validators
from orchestrator.files.views import FileView
from orchestrator.ids import new_id
from orchestrator.issues.parts import Subject, write_issues
from orchestrator.storage.layout import file_uri
from orchestrator.storage.objects import CHUNK_BYTES, remove, write_chunks
from orchestrator.text import SingleLine
from workers.contract.failpoints import failpoint
from workers.formats.shapes import SHAPE_NAMES


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
    """The tenant's description of an upload."""

    model_config = ConfigDict(extra="forbid")

    filename: Annotated[SingleLine, AfterValidator(_plain_name), Field(min_length=1, max_length=255)]
    purpose: Literal["fine-tune"]
    expires_after: ExpiresAfter | None = None
    format: Literal[*SHAPE_NAMES] | None = Field(  # type: ignore[valid-type] # of the registry of shapes
        None, description="what the keys of the rows mean; null: they say so themselves, or the file is refused"
    )


@dataclass(frozen=True)
class UploadLimits:
    """The destination and maximum size of uploads, and who checks them."""

    storage_uri: str
    max_file_bytes: int
    validators: ValidatorPool = field(default_factory=shared_validators)


class ForgottenUpload(StorageDown):
    """The upload stood still for so long that its bytes were given up. Repeat the request."""


@dataclass(frozen=True)
class StoredFile:
    """Complete and validated content in storage that no row references yet."""

    id: str
    tenant_id: str
    uri: str
    size: int
    sha256: str
    findings: Findings

    def record(self, session: Session, new: NewFile, now: datetime) -> FileRow:
        """Add the tenant's file, with its report. One with bad lines is kept with status `error`.

        Raises: ForgottenUpload.
        """
        row = self._row(new, now)
        session.add(row)
        try:
            session.flush()
        except IntegrityError:
            raise ForgottenUpload from None
        write_issues(session, Subject.of(row), self.findings.issues)
        return row

    def _row(self, new: NewFile, now: datetime) -> FileRow:
        found, expiry = self.findings, new.expires_after
        return FileRow(
            id=self.id,
            tenant_id=self.tenant_id,
            filename=new.filename,
            purpose=new.purpose,
            bytes=self.size,
            sha256=self.sha256,
            uri=self.uri,
            status="error" if found.issues else "processed",
            status_details=found.status_details,
            format=found.format,
            shape=found.shape,
            container=found.container,
            notes=[note.model_dump() for note in found.notes] or None,
            rows=found.rows,
            issue_count=found.issue_count,
            created_at=now,
            expires_at=None if expiry is None else now + timedelta(seconds=expiry.seconds),
            deleted_at=None,
        )

    def discard(self) -> None:
        """Remove content that no row will reference. Raises: StorageDown."""
        remove(self.uri.rpartition("/")[0])


def upload(
    db: Database, tenant_id: str, limits: UploadLimits, new: NewFile, stream: IO[bytes], now: datetime
) -> FileView:
    """Store the stream as a file of the tenant.

    Raises: TooLarge, StorageDown, StorageFull, ValidationInterrupted, after removing what was written; ForgottenUpload.
    """
    chunks = read_chunks(stream)
    stored = store(limits.storage_uri, tenant_id, chunks, limits.max_file_bytes, limits.validators, new.format)
    failpoint("upload.stored")
    with db.write() as session:
        row = stored.record(session, new, now)
    return FileView.with_issues(row, stored.findings.issues)


def store(
    storage_uri: str,
    tenant_id: str,
    chunks: Iterable[bytes],
    max_bytes: int,
    validators: ValidatorPool,
    wanted: str | None = None,
) -> StoredFile:
    """Store, measure and digest the bytes in one pass, while another process validates them.

    `wanted`: the shape of the rows that the owner named.

    Raises: TooLarge, StorageDown, StorageFull, ValidationInterrupted, and the errors of `chunks`, after removing what
    was written.
    """
    file_id = new_id("file-")
    uri = file_uri(storage_uri, tenant_id, file_id)
    digest = hashlib.sha256()

    def passed(check: FileCheck) -> Iterator[bytes]:
        size = 0
        for chunk in chunks:
            size += len(chunk)
            if size > max_bytes:
                raise TooLarge(
                    f"The file is larger than the limit of {max_bytes:,} bytes. Split it, or use /v1/uploads."
                )
            digest.update(chunk)
            check.feed(chunk)
            yield chunk
            failpoint("upload.chunk")

    try:
        with validators.check(wanted) as check:
            size = write_chunks(uri, passed(check))
            return StoredFile(file_id, tenant_id, uri, size, digest.hexdigest(), check.finish())
    except BaseException:
        with suppress(StorageDown):  # the caller must see the first error
            remove(uri.rpartition("/")[0])
        raise


def read_chunks(stream: IO[bytes]) -> Iterator[bytes]:
    """The rest of a stream, in chunks."""
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk

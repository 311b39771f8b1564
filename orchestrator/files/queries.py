"""Queries for a tenant's own files that are neither deleted nor expired."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import BindParameter, ColumnElement, and_, bindparam, or_, select
from sqlalchemy.orm import Session, defer
from sqlalchemy.sql.elements import SQLCoreOperations

from orchestrator.db.database import Database
from orchestrator.db.tables import FileRow
from orchestrator.errors import NotFound
from orchestrator.files.views import SHOWN_ISSUES, FileView, ListedFile
from orchestrator.issues.report import IssuePage, first_issues, issue_lines, issue_page
from orchestrator.paging import Page, PageWindow, page
from orchestrator.storage.objects import open_chunks

MAX_PAGE = 1_000  # files; clients that ask for more find `has_more` and continue

_LIGHT: Final = defer(FileRow.notes, raiseload=True)


@dataclass(frozen=True)
class FileContent:
    """The bytes of a file, to stream."""

    filename: str
    size_bytes: int
    chunks: Iterator[bytes]


def get_file(db: Database, tenant_id: str, file_id: str, now: datetime) -> FileView:
    """One file. Raises: NotFound."""
    with db.read() as session:
        return file_view(session, visible_file(session, tenant_id, file_id, now))


def list_files(
    db: Database, tenant_id: str, purpose: str | None, window: PageWindow, now: datetime
) -> Page[ListedFile]:
    """The tenant's files, at most `MAX_PAGE` of them, without their issues. Raises: InvalidRequest (cursor)."""
    query = select(FileRow).where(visible(tenant_id, now)).options(_LIGHT)
    if purpose is not None:
        query = query.where(FileRow.purpose == purpose)
    with db.read() as session:
        bounded = replace(window, limit=min(window.limit, MAX_PAGE))
        found = page(session, query, FileRow, FileRow.tenant_id == tenant_id, bounded)
        return found.map(lambda row: ListedFile.of(row[0]))


def open_content(db: Database, tenant_id: str, file_id: str, now: datetime) -> FileContent:
    """The stored bytes. Raises: NotFound."""
    with db.read() as session:
        row = visible_file(session, tenant_id, file_id, now)
    return FileContent(row.filename, row.bytes, open_chunks(row.uri))


def file_issues(db: Database, tenant_id: str, file_id: str, window: PageWindow, now: datetime) -> IssuePage:
    """A page of the file's report. Raises: NotFound, InvalidRequest (cursor)."""
    with db.read() as session:
        row = visible_file(session, tenant_id, file_id, now)
        return issue_page(session, row.id, row.issue_count, window)


def file_issue_lines(db: Database, tenant_id: str, file_id: str, now: datetime) -> Iterator[bytes]:
    """The file's whole report as JSONL. Raises: NotFound, at once."""
    with db.read() as session:
        row = visible_file(session, tenant_id, file_id, now)
    return issue_lines(db, row.id)


def file_view(session: Session, row: FileRow) -> FileView:
    """The file with its first issues."""
    return FileView.with_issues(row, first_issues(session, row.id, SHOWN_ISSUES) if row.issue_count else ())


def visible(tenant_id: str | SQLCoreOperations[str], now: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    """The condition for a file to be visible to a tenant."""
    alive = or_(FileRow.expires_at.is_(None), FileRow.expires_at > now)
    return and_(FileRow.tenant_id == tenant_id, FileRow.deleted_at.is_(None), alive)


_VISIBLE_FILE: Final = select(FileRow).where(
    FileRow.id == bindparam("file_id"), visible(bindparam("tenant_id"), bindparam("now"))
)


def visible_file(session: Session, tenant_id: str, file_id: str, now: datetime) -> FileRow:
    """The row, for use inside the orchestrator. Raises: NotFound."""
    row = session.scalar(_VISIBLE_FILE, {"file_id": file_id, "tenant_id": tenant_id, "now": now})
    if row is None:
        raise no_such_file(file_id)
    return row


def no_such_file(file_id: str, param: str = "file_id") -> NotFound:
    """The error for a file that is not visible to the tenant. `param`: the request field that named it."""
    return NotFound(f"No such File object: {file_id}", param=param)

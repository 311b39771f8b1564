"""OpenAI's `File`, with validation findings under `x_orchard`."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, Field

from orchestrator.db.tables import FileRow
from workers.contract.files import Container, Note
from workers.contract.rows import DatasetFormat, RowIssue

SHOWN_ISSUES = 100


def report_path(file_id: str) -> str:
    """The path of a file's report."""
    return f"/v1/files/{file_id}/x/issues"


class FileSummary(BaseModel):
    """The result of validation, in short."""

    format: DatasetFormat | None = Field(description="format of the rows; null if unknown")
    shape: str | None = Field(description="what the keys of the rows mean, as they were sent; null if unknown")
    container: Container = Field(description="how the file holds its rows")
    rows: int | None = Field(description="good rows")
    sha256: str
    issue_count: int = Field(description="number of all issues")
    report: str | None = Field(description="path of the report, if there are issues")

    @classmethod
    def of(cls, row: FileRow) -> "FileSummary":
        """The summary of a row. It does not read the row's issues."""
        return cls(
            format=None if row.format is None else DatasetFormat(row.format),
            shape=row.shape or row.format,
            container=Container(row.container),
            rows=row.rows,
            sha256=row.sha256,
            issue_count=row.issue_count,
            report=report_path(row.id) if row.issue_count else None,
        )


class FileDetails(FileSummary):
    """The result of validation."""

    notes: list[Note] = Field(description="what was recognised, converted, assumed or ignored")
    issues: list[RowIssue] = Field(description=f"the first {SHOWN_ISSUES} issues")


class ListedFile(BaseModel):
    """A file object in a list: without its issues, of which a page of files would hold megabytes."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int = Field(description="Unix seconds")
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["uploaded", "processed", "error"]
    status_details: str | None
    x_orchard: FileSummary

    @classmethod
    def of(cls, row: FileRow) -> "ListedFile":
        """The view of a row."""
        return cls(
            id=row.id,
            bytes=row.bytes,
            created_at=int(row.created_at.timestamp()),
            expires_at=None if row.expires_at is None else int(row.expires_at.timestamp()),
            filename=row.filename,
            purpose=row.purpose,
            status=row.status,
            status_details=row.status_details,
            x_orchard=FileSummary.of(row),
        )


class FileView(ListedFile):
    """A file object."""

    x_orchard: FileDetails

    @classmethod
    def with_issues(cls, row: FileRow, issues: Sequence[RowIssue]) -> "FileView":
        """The view of a row and of the first of its issues."""
        listed = ListedFile.of(row)
        notes = [Note.model_validate(note) for note in row.notes or ()]
        details = FileDetails(**listed.x_orchard.model_dump(), notes=notes, issues=list(issues[:SHOWN_ISSUES]))
        return cls(**listed.model_dump(exclude={"x_orchard"}), x_orchard=details)


class DeletedView(BaseModel):
    """The answer to a deletion."""

    id: str
    object: Literal["file", "model", "checkpoint.permission"]
    deleted: Literal[True] = True

"""Reads a validated file, converts it to rows as its upload did, and validates it again."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.contract.errors import DataError
from workers.contract.failpoints import failpoint
from workers.contract.issues import stopped, storable
from workers.contract.rows import Row, RowIssue
from workers.contract.spec import DatasetRef, ExtraKeys
from workers.formats.reading import FileReading
from workers.storage import fetch_file, file_sha256, scratch


@dataclass(frozen=True)
class ReadRow:
    """A row and the number of its line in the file, or of the row where lines are none; counted from 1."""

    line: int
    row: Row
    is_as_sent: bool = True
    """Whether the file says it as its model has it, without any conversion."""


def read_rows(ref: DatasetRef, extra: ExtraKeys = ExtraKeys.IGNORE) -> Generator[ReadRow]:
    """The rows of the file, one at a time.

    Raises: StorageUnavailable; after the last line, DataError listing every line that does not parse.
    """
    with scratch("rows") as folder:
        path = folder / "rows"
        fetch_file(ref.uri, path)
        failpoint("rows.fetched")
        if file_sha256(path) != ref.sha256:
            raise DataError(f"file {ref.file_id} changed after it was validated; upload it again")
        yield from _parse(path, ref, extra)


def _parse(path: Path, ref: DatasetRef, extra: ExtraKeys) -> Generator[ReadRow]:
    rows = 0
    issues: list[RowIssue] = []
    with path.open("rb") as stream:
        for each in FileReading.of(stream, ref, extra).rows():
            if stopped(issues, each.number):
                break
            issues += each.issues
            if each.row is not None:
                rows += 1
                if not issues:  # else the file is rejected, and only its other bad lines matter
                    yield ReadRow(each.number, each.row, each.is_as_sent)
    if issues:
        raise DataError(summary(ref, issues), issues)
    if not rows:
        raise DataError(f"file {ref.file_id} has no rows")


def summary(ref: DatasetRef, issues: Sequence[RowIssue]) -> str:
    """One sentence: the lines, and the first issue."""
    lines = sorted({issue.line for issue in issues})
    shown = ", ".join(map(str, lines[:10])) + (f" and {len(lines) - 10} more" if len(lines) > 10 else "")
    first = storable(issues[0]).message
    return f"file {ref.file_id}: {len(lines)} row(s) cannot be used: {ref.container.place} {shown}; {first}"

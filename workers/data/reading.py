"""Reads a validated JSONL file on the host and validates it again."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.contract.errors import DataError
from workers.contract.failpoints import failpoint
from workers.contract.issues import stopped
from workers.contract.row_check import check_row, parse_row
from workers.contract.rows import Row, RowIssue
from workers.contract.spec import DatasetRef
from workers.data.pausing import Pause, no_pause
from workers.storage import fetch_file, file_sha256, scratch


@dataclass(frozen=True)
class ReadRow:
    """A row and its line number, counted from 1."""

    line: int
    row: Row


def read_rows(ref: DatasetRef, error: type[DataError] = DataError, pause: Pause = no_pause) -> Generator[ReadRow]:
    """The rows of the file, one at a time. `pause` is called before each line.

    Raises: StorageUnavailable, Abandoned; after the last line, `error` listing every line that does not parse.
    """
    with scratch("rows") as folder:
        path = folder / "rows.jsonl"
        fetch_file(ref.uri, path)
        failpoint("rows.fetched")
        if file_sha256(path) != ref.sha256:
            raise error(f"file {ref.file_id} changed after it was validated; upload it again")
        yield from _parse(path, ref, error, pause)


def _parse(path: Path, ref: DatasetRef, error: type[DataError], pause: Pause) -> Generator[ReadRow]:
    rows = 0
    issues: list[RowIssue] = []
    with path.open("rb") as stream:
        for line, raw in enumerate(stream, start=1):
            pause()
            if stopped(issues, line):
                break
            if not raw.strip():
                continue
            parsed = parse_row(line, raw)
            row = [parsed] if isinstance(parsed, RowIssue) else check_row(line, ref.format, parsed, raw)
            if isinstance(row, list):
                issues += row
                continue
            rows += 1
            if not issues:  # else the file is rejected, and only its other bad lines matter
                yield ReadRow(line, row)
    if issues:
        raise error(summary(ref, issues), issues)
    if not rows:
        raise error(f"file {ref.file_id} has no rows")


def summary(ref: DatasetRef, issues: Sequence[RowIssue]) -> str:
    """One sentence: the lines, and the first issue."""
    lines = sorted({issue.line for issue in issues})
    shown = ", ".join(map(str, lines[:10])) + (f" and {len(lines) - 10} more" if len(lines) > 10 else "")
    return f"file {ref.file_id}: {len(lines)} row(s) cannot be used: line {shown}; {issues[0].message}"

"""Reads a validated JSONL file on the host and validates it again."""

import json
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from workers.contract.errors import DataError
from workers.contract.failpoints import failpoint
from workers.contract.rows import ROW_MODELS, Row, RowIssue, row_issues
from workers.contract.spec import DatasetRef
from workers.storage import fetch_file, file_sha256, scratch


@dataclass(frozen=True)
class ReadRow:
    """A row and its line number, counted from 1."""

    line: int
    row: Row


def read_rows(
    ref: DatasetRef, error: type[DataError] = DataError, before_line: Callable[[], object] = lambda: None
) -> Generator[ReadRow]:
    """The rows of the file, one at a time. `before_line` may raise to stop.

    Raises: StorageUnavailable; after the last line, `error` listing every line that does not parse.
    """
    with scratch("rows") as folder:
        path = folder / "rows.jsonl"
        fetch_file(ref.uri, path)
        failpoint("rows.fetched")
        if file_sha256(path) != ref.sha256:
            raise error(f"file {ref.file_id} changed after it was validated; upload it again")
        yield from _parse(path, ref, error, before_line)


def _parse(
    path: Path, ref: DatasetRef, error: type[DataError], before_line: Callable[[], object]
) -> Generator[ReadRow]:
    model = ROW_MODELS[ref.format]
    rows = 0
    issues: list[RowIssue] = []
    with path.open("rb") as stream:
        for line, raw in enumerate(stream, start=1):
            before_line()
            if not raw.strip():
                continue
            try:
                row = model.model_validate(json.loads(raw))
            except ValidationError as problem:
                issues += row_issues(line, problem)
            except (ValueError, RecursionError):
                issues.append(RowIssue(line=line, code="invalid_json", message="line is not a JSON object"))
            else:
                rows += 1
                if not issues:  # else the file is rejected, and only its other bad lines matter
                    yield ReadRow(line, row)
    if issues:
        raise error(f"file {ref.file_id} has {len(issues)} problem(s) in its rows", issues)
    if not rows:
        raise error(f"file {ref.file_id} has no rows")

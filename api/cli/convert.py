"""Converts a data set on this machine, as an upload of it would be."""

import os
from pathlib import Path
from typing import IO, Final

from api.cli.errors import CliError, ExitCode
from api.cli.output import say
from workers.contract.rows import RowIssue
from workers.formats.reading import FileReading
from workers.formats.shapes import SHAPE_NAMES

MAX_SAID: Final = 100
"""Problems that are said; more are counted."""


def convert_file(path: Path, target: Path, format: str | None) -> None:
    """Write the rows of `path` to `target`, which appears once it is whole. Raises CliError, and OSError."""
    if format is not None and format not in SHAPE_NAMES:
        known = ", ".join(SHAPE_NAMES)
        raise CliError(f"there is no format {format}", code="unknown_format", hint=f"use one of: {known}",
                       exit_code=ExitCode.USAGE)  # fmt: skip
    if not path.is_file():
        raise CliError(f"{path} is no file", code="file_not_found", hint="check the path", exit_code=ExitCode.USAGE)
    if target.exists():
        raise CliError(f"{target} exists", code="target_exists", hint="name another file", exit_code=ExitCode.USAGE)
    staging = target.with_name(f".{target.name}-{os.getpid()}")
    try:
        with path.open("rb") as source, staging.open("xb") as sink:
            rows = _convert(FileReading(source, format), sink, path.name)
        staging.replace(target)
    finally:
        staging.unlink(missing_ok=True)
    say(f"{rows} rows in {target}")


def _convert(reading: FileReading, sink: IO[bytes], name: str) -> int:
    """The number of rows. Raises CliError once all bad ones are said."""
    rows = problems = 0
    for checked in reading.rows():
        for issue in checked.issues:
            problems += 1
            if problems <= MAX_SAID:
                say(_sentence(issue, reading.container.place))
        if checked.row is not None:
            rows += 1
            sink.write(checked.row.model_dump_json(exclude_none=True).encode() + b"\n")
    for note in reading.notes:
        say(f"note: {note.message}")
    if problems or not rows:
        what = f"{problems} problem(s)" if problems else "no rows"
        hint = "correct the rows named above" if problems else "check the file"
        raise CliError(f"{name} has {what}; nothing is written", code="invalid_file", hint=hint)
    return rows


def _sentence(issue: RowIssue, place: str) -> str:
    where = f"{place.title()} {issue.line}" + (f", {issue.field}" if issue.field else "")
    return f"{where}: {issue.message} [{issue.code}]"

"""Sends and fetches files, with a bar on a terminal."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from api.cli.errors import CliError, ExitCode
from api.cli.file_calls import FileCalls
from api.cli.models import File
from api.cli.output import say
from orchestrator.characters import escaped
from workers.contract.files import Container

SHOWN_LINES = 20
"""Of a bad file, when it is uploaded."""


def upload_file(files: FileCalls, path: Path, format: str | None = None) -> File:
    """Upload the file at `path`. `format`: what its keys mean.

    Raises CliError, and OSError when it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file, _bar() as progress:
        return files.upload(progress.wrap_file(file, total=size, description=path.name), path.name, size, format)


def require_good_lines(file: File, path: Path, *, code: str, hint: str, rest: str) -> None:
    """Raises CliError when the upload of `path` has bad lines, once the first are said. `rest`: how to see all."""
    if file.status != "error":
        return
    told = file.x_orchard.issues[:SHOWN_LINES]
    place = "Line" if file.x_orchard.container == Container.JSONL else "Row"
    for issue in told:
        where = f"{place} {issue.line}" + (f", {issue.field}" if issue.field else "")
        say(escaped(f"{where}: {issue.message} [{issue.code}]"))
    if (hidden := file.x_orchard.issue_count - len(told)) > 0:
        say(f"… and {hidden:,} more problem(s). To see all: {rest}")
    raise CliError(f"{path.name} has bad lines: {file.status_details}", code=code, hint=hint)


def save(chunks: Iterator[bytes], size: int | None, target: Path) -> int:
    """Write a download to `target`, which appears once it is whole. Returns its size, which need not be known before.

    Raises CliError when the target exists, and OSError.
    """
    if target.exists():
        raise CliError(f"{target} exists", code="target_exists", hint="name another file", exit_code=ExitCode.USAGE)
    written = 0
    staging = target.with_name(f".{target.name}-{os.getpid()}")
    try:
        with staging.open("xb") as file, _bar() as progress:
            bar = progress.add_task(target.name, total=size)
            for chunk in chunks:
                written += file.write(chunk)
                progress.advance(bar, len(chunk))
        staging.replace(target)
    finally:
        staging.unlink(missing_ok=True)
    return written


def _bar() -> Progress:
    """On standard error, and only on a terminal: a pipe gets the result alone."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )

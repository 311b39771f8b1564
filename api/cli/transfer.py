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


def upload_file(files: FileCalls, path: Path, format: str | None = None) -> File:
    """Upload the file at `path`. `format`: what its keys mean.

    Raises CliError, and OSError when it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file, _bar() as progress:
        return files.upload(progress.wrap_file(file, total=size, description=path.name), path.name, size, format)


def require_good_lines(files: FileCalls, file: File, path: Path, *, code: str, hint: str) -> None:
    """Raises CliError when the upload of `path` has bad lines, once all of them are said."""
    if file.status == "error":
        say(files.report(file.id).rstrip())
        raise CliError(f"{path.name} has bad lines: {file.status_details}", code=code, hint=hint)


def save(chunks: Iterator[bytes], size: int, target: Path) -> None:
    """Write a download to `target`, which appears once it is whole. Raises CliError when it exists, and OSError."""
    if target.exists():
        raise CliError(f"{target} exists", code="target_exists", hint="name another file", exit_code=ExitCode.USAGE)
    staging = target.with_name(f".{target.name}-{os.getpid()}")
    try:
        with staging.open("xb") as file, _bar() as progress:
            bar = progress.add_task(target.name, total=size)
            for chunk in chunks:
                file.write(chunk)
                progress.advance(bar, len(chunk))
        staging.replace(target)
    finally:
        staging.unlink(missing_ok=True)


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

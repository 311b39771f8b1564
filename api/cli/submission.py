"""Submits a job file: uploads its data files, then creates or estimates the job."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from api.cli.client import OrchardClient
from api.cli.errors import CliError, ExitCode, ServerAway
from api.cli.file_calls import ID_PREFIX, FileCalls
from api.cli.job_file import JobFile, request_body
from api.cli.models import Job
from api.cli.output import say
from api.cli.transfer import require_good_lines, upload_file
from workers.contract.preview import PreviewView


def submit(client: OrchardClient, job: JobFile, folder: Path, idempotency_key: str | None) -> Job:
    """Upload local files and create the job. Paths are relative to `folder`. A refusal deletes the uploads.

    With an `idempotency_key`, an earlier upload of the same file is reused: a new id would change the request.
    Raises CliError, and OSError when a file cannot be read.
    """
    uploads = _Uploads(client, folder, reuse=idempotency_key is not None)
    try:
        return client.create_job(uploads.body(job), idempotency_key)
    except ServerAway:
        raise  # the job may have been created
    except (CliError, OSError):
        uploads.discard()
        raise


def dry_run(client: OrchardClient, job: JobFile, folder: Path) -> dict[str, Any]:
    """The job's estimate. Files are uploaded to count their rows, then deleted. Raises CliError."""
    uploads = _Uploads(client, folder)
    try:
        return client.estimate(uploads.body(job))
    finally:
        uploads.discard()


def preview(client: OrchardClient, job: JobFile, folder: Path, rows: int) -> PreviewView:
    """What the job would train on. Files are uploaded for it, then deleted. Raises CliError."""
    uploads = _Uploads(client, folder)
    try:
        body = uploads.body(job) | {"rows": rows}
        while (view := client.preview(body)).status == "running":  # each answer takes some seconds
            say(f"{view.rows_read:,} rows are tokens so far; the first file of a base takes longest")
        return view
    finally:
        uploads.discard()


class _Uploads:
    """Uploads local files and records the new ids."""

    def __init__(self, client: OrchardClient, folder: Path, *, reuse: bool = False) -> None:
        self._files = FileCalls(client)
        self._folder = folder
        self._reuse = reuse
        self._made: list[str] = []

    def body(self, job: JobFile) -> dict[str, Any]:
        """The create request, after uploading its files. All paths are checked first."""
        for name in (job.training_file, job.validation_file):
            if name is not None:
                self._check(name)
        training = self._file_id(job.training_file, "training_file")
        validation = self._file_id(job.validation_file, "validation_file") if job.validation_file else None
        return request_body(job, training, validation)

    def discard(self) -> None:
        """Delete the uploads. A file that a job uses stays."""
        for file_id in self._made:
            with suppress(CliError):
                self._files.delete(file_id)

    def _check(self, name: str) -> None:
        path = self._folder / name
        if not path.is_file() and not name.startswith(ID_PREFIX):
            raise CliError(
                f"{path} does not exist",
                code="file_not_found",
                hint="paths are relative to the job file, or to this folder without one",
                exit_code=ExitCode.USAGE,
            )

    def _file_id(self, name: str, field: str) -> str:
        path = self._folder / name
        if not path.is_file():
            return name
        if self._reuse and (known := self._uploaded_before(path)):
            return known
        file = upload_file(self._files, path)
        self._made.append(file.id)
        say(f"Uploaded {path.name} as {file.id} ({file.bytes} bytes)")
        hint = "correct the lines named above; each must be one JSON object of one format"
        rest = f"orchard files upload {path.name}, then orchard files issues"
        require_good_lines(file, path, code=f"invalid_{field}", hint=hint, rest=rest)
        return file.id

    def _uploaded_before(self, path: Path) -> str | None:
        """The id of the newest valid upload with the same content that does not expire."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        for known in self._files.list():
            if known.x_orchard.sha256 == digest and known.status == "processed" and known.expires_at is None:
                return known.id
        return None

"""Calls of `/v1/files` and `/v1/uploads`."""

from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import quote

import httpx2

from api.cli.errors import CliError
from api.cli.lookup import one_named
from api.cli.models import File, Upload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.cli.client import OrchardClient

PATH: Final = "/v1/files"
UPLOADS: Final = "/v1/uploads"
PURPOSE: Final = {"purpose": "fine-tune"}
ID_PREFIX: Final = "file-"
WHOLE_BYTES: Final = 64 * 2**20  # larger files go in parts: a broken connection then costs a part, not all
PART_BYTES: Final = 16 * 2**20
VALIDATION: Final = httpx2.Timeout(60, connect=5, read=600)  # the server answers once it has read every line


@dataclass(frozen=True)
class FileCalls:
    """One method per call; every one raises CliError."""

    client: "OrchardClient"

    def upload(self, content: IO[bytes], name: str, size: int, format: str | None = None) -> File:
        """Store a file of `size` bytes; the server checks every row of it. `format`: what its keys mean."""
        asked = PURPOSE if format is None else PURPOSE | {"format": format}
        if size > WHOLE_BYTES:
            return self._upload_in_parts(content, name, size, asked)
        form = {"data": asked, "files": {"file": (name, content)}}
        return self.client.fetch(File, "POST", PATH, timeout=VALIDATION, **form)

    def list(self, limit: int = 10_000) -> "list[File]":
        """The tenant's files, newest first."""
        return self.client.fetch_all(File, PATH, limit)

    def named(self, file: str) -> str:
        """The id of a file by its id, its name, or the beginning of it."""
        if file.startswith(ID_PREFIX):
            return file
        return one_named(((each.id, each.filename) for each in self.list()), file, "file", "orchard files list")

    def get(self, file_id: str) -> File:
        """One file."""
        return self.client.fetch(File, "GET", _of(file_id))

    def content(self, file_id: str) -> "AbstractContextManager[Iterator[bytes]]":
        """A file's bytes as they arrive."""
        return self.client.download(f"{_of(file_id)}/content")

    def delete(self, file_id: str) -> None:
        """Remove a file and its bytes."""
        self.client.send("DELETE", _of(file_id))

    def _upload_in_parts(self, content: IO[bytes], name: str, size: int, asked: dict[str, str]) -> File:
        announced = {"filename": name, "bytes": size, "mime_type": "application/octet-stream"} | asked
        upload = self.client.fetch(Upload, "POST", UPLOADS, json=announced)
        try:
            parts = [self._add_part(upload.id, part) for part in iter(lambda: content.read(PART_BYTES), b"")]
            path = f"{UPLOADS}/{upload.id}/complete"
            done = self.client.fetch(
                Upload, "POST", path, json={"part_ids": parts}, timeout=VALIDATION, repeatable=True
            )
        except (CliError, OSError, KeyboardInterrupt):
            self._cancel(upload.id)
            raise
        if done.file is None:
            raise CliError(f"the server completed {upload.id} without a file", code=f"http_{HTTPStatus.BAD_GATEWAY}")
        return done.file

    def _add_part(self, upload_id: str, part: bytes) -> str:
        """Repeated while the network fails: parts that are not named at the end are dropped."""
        form = {"files": {"data": ("part", part)}}
        return self.client.fetch(Upload, "POST", f"{UPLOADS}/{upload_id}/parts", repeatable=True, **form).id

    def _cancel(self, upload_id: str) -> None:
        """Free the parts' room at once; else they expire within an hour."""
        with suppress(CliError):  # the first failure is the one to tell
            self.client.send("POST", f"{UPLOADS}/{upload_id}/cancel")


def _of(file_id: str) -> str:
    return f"{PATH}/{quote(file_id, safe='')}"

"""Unpacks an adapter's tar archive while it downloads, without trusting its content."""

import io
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from api.cli.errors import CliError


def unpack(chunks: Iterator[bytes], target: Path, top: str | None = None) -> list[Path]:
    """Unpack the stream into the new or empty folder `target` and return the files, relative to it.

    The archive's single top folder is stripped from the paths; if `top` is given, it must have that name. Members
    outside the folder, links out of it and devices are refused (PEP 706, filter "data"). If the stream breaks, all
    files are removed. Raises CliError, and OSError when the disk is full or the folder not writable.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CliError(f"{target} exists and is not empty", code="target_exists", hint="name a new folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        with tarfile.open(fileobj=_Stream(chunks), mode="r|*") as archive:
            archive.extractall(staging, filter="data")
        [found] = staging.iterdir() if top is None else [staging / top]
        if target.exists():
            target.rmdir()
        found.replace(target)
    except (tarfile.TarError, EOFError, FileNotFoundError, ValueError) as error:
        raise CliError(f"the adapter's archive is not usable: {error}", code="bad_archive", hint="try again") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return sorted(path.relative_to(target) for path in target.rglob("*") if path.is_file())


class _Stream(io.RawIOBase):
    """A file object over chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._left) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._left += chunk
        size = len(self._left) if size < 0 else size
        taken, self._left = self._left[:size], self._left[size:]
        return taken

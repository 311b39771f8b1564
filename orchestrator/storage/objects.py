"""Objects in storage through fsspec (`file://`, `s3://`, …): the control plane's only module that uses it.

Backend errors become StorageDown, StorageMissing or StorageFull. Calls to an unresponsive store time out after
seconds; the caller decides whether and when to retry.
"""

import io
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, Final

import fsspec

from orchestrator.errors import ServiceError, StorageDown, StorageFull, StorageMissing
from orchestrator.outages import NO_SPACE

CHUNK_BYTES: Final = 1 << 20
_S3_OPTIONS: Final = {"config_kwargs": {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 2}}}


def write_chunks(uri: str, chunks: Iterable[bytes]) -> int:
    """Write `chunks` to `uri`, creating parent folders. Returns the size in bytes.

    Errors of `chunks` propagate, and the caller then removes what was written. The data is durable on return: a row
    must not outlive its bytes in a power failure.
    """
    size = 0
    with storage_errors():
        filesystem, path = filesystem_of(uri)
        filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
        stream: IO[bytes] = filesystem.open(path, "wb")
    try:
        for chunk in chunks:
            with storage_errors():
                size += stream.write(chunk)
        with storage_errors():
            _settle(stream)
    finally:
        with storage_errors():
            stream.close()
    return size


def open_chunks(uri: str) -> Generator[bytes]:
    """The content of `uri`, opened now and read lazily."""
    with storage_errors():
        filesystem, path = filesystem_of(uri)
        stream: IO[bytes] = filesystem.open(path, "rb")
    return _chunks(stream)


def read_lines(uri: str) -> Iterator[bytes]:
    """The lines of `uri` without line breaks, read lazily."""
    rest = b""
    for chunk in open_chunks(uri):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest


def read_all(uri: str) -> bytes:
    """The content of a small file."""
    return b"".join(open_chunks(uri))


def remove(uri: str) -> None:
    """Delete a file or a folder; one that does not exist is not an error."""
    with storage_errors():
        filesystem, path = filesystem_of(uri)
        if filesystem.exists(path):
            filesystem.rm(path, recursive=True)


def local_path(uri: str) -> str | None:
    """The local path of `uri`; None if it is not on this machine's disk."""
    with storage_errors():
        filesystem, path = filesystem_of(uri)
    protocols = (filesystem.protocol,) if isinstance(filesystem.protocol, str) else tuple(filesystem.protocol)
    return path if "file" in protocols else None


def filesystem_of(uri: str) -> tuple[Any, str]:
    """The backend of `uri` and the path in it. Use it within `storage_errors`."""
    options = _S3_OPTIONS if uri.startswith(("s3://", "s3a://")) else {}
    filesystem, path = fsspec.url_to_fs(uri, **options)
    return filesystem, str(path)


@contextmanager
def storage_errors() -> Iterator[None]:
    """Translate backend errors into service errors."""
    try:
        yield
    except ServiceError:
        raise
    except Exception as error:  # every backend has its own exception types
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            raise StorageFull from error
        if isinstance(error, FileNotFoundError):
            raise StorageMissing from error
        raise StorageDown from error


def _settle(stream: IO[bytes]) -> None:
    stream.flush()
    with suppress(
        AttributeError, io.UnsupportedOperation
    ):  # remote stores have no descriptor; they are durable once closed
        os.fsync(stream.fileno())


def _chunks(stream: IO[bytes]) -> Generator[bytes]:
    with stream:
        while True:
            with storage_errors():
                chunk = stream.read(CHUNK_BYTES)
            if not chunk:
                return
            yield chunk

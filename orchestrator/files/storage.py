"""Bytes of files in storage, through fsspec (`file://`, `s3://`, …). Nothing here touches the database.

Whatever a back end raises leaves as StorageDown or StorageFull.
"""

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO

import fsspec

from orchestrator.errors import ServiceError, StorageDown, StorageFull
from orchestrator.outages import NO_SPACE

CHUNK_BYTES = 1 << 20


def tenant_uri(storage_uri: str, tenant_id: str, *parts: str) -> str:
    """A place below the prefix of a tenant. Ids are ours, so the path cannot climb."""
    return "/".join((storage_uri.rstrip("/"), "tenants", tenant_id, *parts))


def file_uri(storage_uri: str, tenant_id: str, file_id: str) -> str:
    """Where the content of a tenant's file lies."""
    return tenant_uri(storage_uri, tenant_id, "files", file_id, "content")


def job_uri(storage_uri: str, tenant_id: str, job_id: str) -> str:
    """The prefix that belongs to one job."""
    return tenant_uri(storage_uri, tenant_id, "jobs", job_id)


def write_chunks(uri: str, chunks: Iterable[bytes]) -> int:
    """Write `chunks` to `uri`, whose parent folders are made. Returns the size in bytes.

    What taking a chunk raises passes through; the caller then removes what was written. Durable when it returns: a
    row must not outlive its bytes in a power cut.
    """
    size = 0
    with storage_errors():
        filesystem, path = fsspec.url_to_fs(uri)
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


def open_chunks(uri: str) -> Iterator[bytes]:
    """The content of `uri`, opened now and read as it is asked for."""
    with storage_errors():
        stream: IO[bytes] = fsspec.open(uri, "rb").open()
    return _chunks(stream)


def read_all(uri: str) -> bytes:
    """The content of a small file."""
    return b"".join(open_chunks(uri))


def remove(uri: str) -> None:
    """Delete a file or a folder; one that is gone already is no error."""
    with storage_errors():
        filesystem, path = fsspec.url_to_fs(uri)
        if filesystem.exists(path):
            filesystem.rm(path, recursive=True)


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn what a back end raises into errors of ours."""
    try:
        yield
    except ServiceError:
        raise
    except Exception as error:  # every back end brings its own exception types
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            raise StorageFull from error
        raise StorageDown from error


def _settle(stream: IO[bytes]) -> None:
    stream.flush()
    with suppress(
        AttributeError, io.UnsupportedOperation
    ):  # remote stores have no descriptor; they are durable once closed
        os.fsync(stream.fileno())


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    with stream:
        while True:
            with storage_errors():
                chunk = stream.read(CHUNK_BYTES)
            if not chunk:
                return
            yield chunk

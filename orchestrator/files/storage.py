"""Bytes of files in storage, through fsspec (`file://`, `s3://`, …). Nothing here touches the database."""

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import IO

import fsspec

CHUNK_BYTES = 1 << 20


def file_uri(storage_uri: str, tenant_id: str, file_id: str) -> str:
    """Where the content of a tenant's file lies. Ids are ours, so the path cannot climb."""
    return f"{storage_uri.rstrip('/')}/tenants/{tenant_id}/files/{file_id}/content"


def job_uri(storage_uri: str, tenant_id: str, job_id: str) -> str:
    """The prefix that belongs to one job."""
    return f"{storage_uri.rstrip('/')}/tenants/{tenant_id}/jobs/{job_id}"


def open_write(uri: str) -> IO[bytes]:
    """A stream into `uri`, whose parent folders are made."""
    filesystem, path = fsspec.url_to_fs(uri)
    filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
    stream: IO[bytes] = filesystem.open(path, "wb")
    return stream


def settle(stream: IO[bytes]) -> None:
    """Push what was written to the disk, where there is one: a row must not outlive its bytes in a power cut."""
    stream.flush()
    with suppress(AttributeError, OSError):  # remote stores have no descriptor; they are durable once closed
        os.fsync(stream.fileno())


def open_chunks(uri: str) -> Iterator[bytes]:
    """The content of `uri`, opened now and read as it is asked for. Raises: FileNotFoundError."""
    stream: IO[bytes] = fsspec.open(uri, "rb").open()
    return _chunks(stream)


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    with stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


def remove(uri: str) -> None:
    """Delete a file or a folder; one that is gone already is no error."""
    filesystem, path = fsspec.url_to_fs(uri)
    if filesystem.exists(path):
        filesystem.rm(path, recursive=True)

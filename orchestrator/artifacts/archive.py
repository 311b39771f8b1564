"""Streams stored files as a tar whose exact length is known before the first byte."""

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.storage.objects import open_chunks

_BLOCK = tarfile.BLOCKSIZE


class AdapterChanged(Exception):
    """A stored file differs in size from its manifest. The stream is aborted instead of sending wrong bytes."""


@dataclass(frozen=True)
class StoredEntry:
    """A file of the tar: `size` bytes stored at `uri`."""

    path: str
    uri: str
    size: int

    def open(self) -> Iterator[bytes]:
        """Exactly `size` bytes. Raises: AdapterChanged, StorageDown."""
        left = self.size
        for chunk in open_chunks(self.uri):
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
        if left:
            raise AdapterChanged(f"{self.path} does not have the {self.size} bytes that its manifest states")


@dataclass(frozen=True)
class MadeEntry:
    """A small file of the tar, generated in memory."""

    path: str
    content: bytes

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.content)

    def open(self) -> Iterator[bytes]:
        """The content."""
        yield self.content


Entry = StoredEntry | MadeEntry


@dataclass(frozen=True)
class AdapterArchive:
    """A tar to stream; `size_bytes` is its exact length."""

    filename: str
    size_bytes: int
    chunks: Iterator[bytes]


def archive(name: str, entries: Sequence[Entry], modified: datetime | None) -> AdapterArchive:
    """The tar `<name>.tar` with `entries` in the folder `name`.

    The first file is opened now, so that a storage outage becomes an error response and not an aborted stream.
    Raises: StorageDown.
    """
    headers = [_header(f"{name}/{entry.path}", entry.size, modified) for entry in entries]
    size = sum(len(header) + _padded(entry.size) for header, entry in zip(headers, entries, strict=True))
    for entry in entries[:1]:
        next(entry.open(), None)
    return AdapterArchive(f"{name}.tar", size + 2 * _BLOCK, _stream(entries, headers))


def _stream(entries: Sequence[Entry], headers: Sequence[bytes]) -> Iterator[bytes]:
    for header, entry in zip(headers, entries, strict=True):
        yield header
        yield from entry.open()
        yield b"\0" * (_padded(entry.size) - entry.size)
    yield b"\0" * (2 * _BLOCK)


def _header(path: str, size: int, modified: datetime | None) -> bytes:
    info = tarfile.TarInfo(path)
    info.size = size
    info.mtime = 0 if modified is None else int(modified.timestamp())
    info.mode = 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK

"""Streams of bytes, and what makes one unreadable."""

import io
from typing import Final, Protocol

from workers.contract.rows import RowIssue

CHUNK_BYTES: Final = 1 << 18


class ByteSource(Protocol):
    """What the pipeline reads from."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, at least one; none at the end."""


class Unreadable(Exception):
    """Nothing behind this place of the file can be read."""

    def __init__(self, code: str, message: str, number: int | None = None) -> None:
        """`number`: of the row; None: the one after those that were read."""
        super().__init__(message)
        self.code = code
        self.number = number

    def issue(self, number: int) -> RowIssue:
        """As an issue of the row that could not be read: `number`, unless it has its own."""
        return RowIssue(line=self.number or number, code=self.code, message=str(self))


class Peeked(io.RawIOBase):
    """A stream of which the beginning, `head`, has been looked at. Closing it leaves the stream open."""

    def __init__(self, source: ByteSource, size: int) -> None:
        """`size`: of `head`, unless the stream is shorter."""
        self._source = source
        self.head = read_up_to(source, size)
        self._left = memoryview(self.head)

    def readable(self) -> bool:
        """Yes."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at the end."""
        if size < 0:
            return self.readall()
        if self._left:
            found = bytes(self._left[:size])
            self._left = self._left[size:]
            return found
        return self._source.read(size)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override] # for io.BufferedReader
        """Fill the beginning of `buffer`."""
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)


def read_up_to(source: ByteSource, size: int) -> bytes:
    """`size` bytes, or all that there are."""
    parts: list[bytes] = []
    while size > 0 and (part := source.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)

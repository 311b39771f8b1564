"""Splits incoming bytes into lines."""

from collections.abc import Iterator
from dataclasses import dataclass

from workers.contract.row_check import MAX_ROW_BYTES


@dataclass(frozen=True)
class RawLine:
    """One line without its line break. `content` is None when the line is longer than `MAX_ROW_BYTES`."""

    number: int
    content: bytes | None


class LineCutter:
    """`feed` chunks of any size, then `finish`. Buffers at most one line, and nothing of an overlong one."""

    def __init__(self, max_line_bytes: int = MAX_ROW_BYTES) -> None:
        self._max = max_line_bytes
        self._parts: list[bytes] = []
        self._held = 0  # bytes in `_parts`
        self._overlong = False
        self._number = 0

    def feed(self, chunk: bytes) -> Iterator[RawLine]:
        """The lines that `chunk` completes."""
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            self._hold(end)
            yield self._cut()
        self._hold(rest)

    def finish(self) -> Iterator[RawLine]:
        """The last line, if the file does not end with a line break."""
        if self._held or self._overlong:
            yield self._cut()

    def _hold(self, part: bytes) -> None:
        if self._overlong or self._held + len(part) > self._max:
            self._overlong, self._parts, self._held = True, [], 0
        elif part:
            self._parts.append(part)
            self._held += len(part)

    def _cut(self) -> RawLine:
        self._number += 1
        line = RawLine(self._number, None if self._overlong else b"".join(self._parts))
        self._overlong, self._parts, self._held = False, [], 0
        return line

"""Splits bytes into lines, which end with LF, CR LF, or (as on old Macs) CR."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from workers.contract.row_check import MAX_ROW_BYTES
from workers.formats.stream import CHUNK_BYTES, ByteSource

_CR: Final = b"\r"


@dataclass(frozen=True, slots=True)
class RawLine:
    """One line without its line break. `content` is None when the line is longer than `MAX_ROW_BYTES`."""

    number: int
    content: bytes | None


class LineCutter:
    """`feed` chunks of any size, then `finish`. Buffers at most one line, and nothing of an overlong one.

    The first line break decides which kind of file it is: a CR within a line of the usual kind is white space of JSON.
    """

    def __init__(self, max_line_bytes: int = MAX_ROW_BYTES) -> None:
        self._max = max_line_bytes
        self._parts: list[bytes] = []
        self._held = 0  # bytes in `_parts`
        self._overlong = False
        self._number = 0
        self._ends_with_cr: bool | None = None
        self._waits_for_lf = False  # the last chunk ended with a CR that may be the first line break, or half of it

    def feed(self, chunk: bytes) -> Iterator[RawLine]:
        """The lines that `chunk` completes."""
        if self._ends_with_cr is None:
            chunk = self._decide(chunk)
        *ends, rest = chunk.replace(_CR, b"\n").split(b"\n") if self._ends_with_cr else chunk.split(b"\n")
        for end in ends:
            self._hold(end)
            yield self._cut()
        self._hold(rest)

    def finish(self) -> Iterator[RawLine]:
        """The last line, if the file does not end with a line break."""
        if self._waits_for_lf or self._held or self._overlong:
            yield self._cut()

    def _decide(self, chunk: bytes) -> bytes:
        """Learn from the first line break how lines end. Returns what to split, now that it is known or unknown."""
        if self._waits_for_lf and chunk:
            self._ends_with_cr = not chunk.startswith(b"\n")
            self._waits_for_lf = False
            return _CR + chunk
        cr, lf = chunk.find(_CR), chunk.find(b"\n")
        if cr < 0 and lf < 0:
            return chunk
        if cr == len(chunk) - 1:
            self._waits_for_lf = True
            return chunk[:-1]
        self._ends_with_cr = 0 <= cr < (lf if lf >= 0 else len(chunk)) and chunk[cr + 1 : cr + 2] != b"\n"
        return chunk

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


def lines_of(source: ByteSource) -> Iterator[RawLine]:
    """The lines of a stream."""
    cutter = LineCutter()
    while chunk := source.read(CHUNK_BYTES):
        yield from cutter.feed(chunk)
    yield from cutter.finish()

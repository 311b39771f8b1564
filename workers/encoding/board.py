"""The board: what the encoding process is at, written into memory that its watcher sees, at no cost a row."""

import mmap
import os
import struct
import tempfile
import time
from typing import NamedTuple, Self

_FORMAT = struct.Struct("<qqd")


class Position(NamedTuple):
    """Where the process is."""

    line: int
    """Of the row at work; 0: none."""
    rows: int
    """Rows of the file that are tokens."""
    began_cpu_s: float
    """Seconds of the processor that the process had used when the work on that row began."""


class Board:
    """A few numbers in shared memory, behind a file descriptor that a child inherits. One process writes."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _FORMAT.size)
        self._rows = 0

    @classmethod
    def create(cls) -> Self:
        """A new one. The file has no name."""
        with tempfile.TemporaryFile() as file:
            file.truncate(_FORMAT.size)
            return cls(os.dup(file.fileno()))

    def begin_file(self) -> None:
        """Write that a file is begun, or over."""
        self._rows = 0
        self._write(0)

    def at(self, line: int | None) -> None:
        """Write that the row on `line` is begun; None: that it is done."""
        self._rows += line is None
        self._write(line or 0)

    def read(self) -> Position:
        """What was written last."""
        while True:  # until it was not written meanwhile
            first, second = _FORMAT.unpack_from(self._memory), _FORMAT.unpack_from(self._memory)
            if first == second:
                return Position(*first)

    def close(self) -> None:
        """Free the memory."""
        self._memory.close()
        os.close(self.descriptor)

    def _write(self, line: int) -> None:
        _FORMAT.pack_into(self._memory, 0, line, self._rows, time.process_time())

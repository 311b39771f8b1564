"""The process that checks files for the API: `python -m orchestrator.files.validator MEMORY_BYTES CORES`.

What tenants send is parsed here and not in the API: a row that takes all memory takes this process's share, and one
that takes long leaves the API's interpreter alone. It checks one file after another and ends with its standard input.

In, for each file: a frame with the shape that its owner named, or with `ANY_SHAPE`; frames of its bytes; an empty
frame. Out: its `Findings` as JSON, in a frame. A frame is its length in four bytes, and so many bytes.
"""

import os
import resource
import signal
import struct
import sys
from contextlib import suppress
from typing import IO, Final

from pydantic import TypeAdapter

from orchestrator.files.validate import Findings, check_file

EXIT_OUT_OF_MEMORY: Final = 71
"""Status of a process that ran out of memory and could not tell on which line."""
FINDINGS: Final = TypeAdapter(Findings)
ANY_SHAPE: Final = b"*"
_LENGTH: Final = struct.Struct(">I")
_NICE: Final = 10
"""Whoever waits for an answer of the API goes before those whose files are checked."""


def main() -> None:
    """Check files until the API closes the pipe."""
    memory_bytes, cores = int(sys.argv[1]), [int(core) for core in sys.argv[2].split(",")]
    _confine(memory_bytes, cores)
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer)
    except MemoryError:
        os._exit(EXIT_OUT_OF_MEMORY)


def serve(source: IO[bytes], sink: IO[bytes]) -> None:
    """Check the files that come from `source` until it ends."""
    while (wanted := read_frame(source)) is not None:
        content = _Frames(source)
        findings = check_file(content, None if wanted == ANY_SHAPE else wanted.decode())
        if not content.skip():
            return
        write_frame(sink, FINDINGS.dump_json(findings))


class _Frames:
    """The bytes of one file."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._left = memoryview(b"")
        self._ended = self._is_cut = False

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        if not self._left and not self._ended:
            frame = read_frame(self._source)
            self._is_cut = frame is None
            self._ended = not frame
            self._left = memoryview(frame or b"")
        found = bytes(self._left[:size])
        self._left = self._left[size:]
        return found

    def skip(self) -> bool:
        """Go to the end of the file. False: it never came."""
        while not self._ended:
            self._left = memoryview(b"")
            self.read(0)
        return not self._is_cut


def read_frame(source: IO[bytes]) -> bytes | None:
    """The next frame. None: the other end is gone."""
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    frame = source.read(length)
    return frame if len(frame) == length else None


def write_frame(sink: IO[bytes], frame: bytes) -> None:
    """Send one frame at once."""
    sink.write(_LENGTH.pack(len(frame)))
    sink.write(frame)
    sink.flush()


def _confine(memory_bytes: int, cores: list[int]) -> None:
    with suppress(OSError, ValueError):  # not every system can limit address space
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(0, cores)
    os.nice(_NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the API, which ends the pipe


if __name__ == "__main__":
    main()

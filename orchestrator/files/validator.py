"""The process that checks files for the API: `python -m orchestrator.files.validator MEMORY_BYTES CORES`.

What tenants send is parsed here and not in the API: a row that takes all memory takes this process's share, and one
that takes long leaves the API's interpreter alone. It checks one file after another and ends with its standard input.

In: frames of a file's bytes, then an empty frame. Out: its `Findings` as JSON, in a frame. A frame is its length in
four bytes, and so many bytes.
"""

import os
import resource
import signal
import struct
import sys
from contextlib import suppress
from typing import IO, Final

from pydantic import TypeAdapter

from orchestrator.files.validate import DatasetValidator, Findings

EXIT_OUT_OF_MEMORY: Final = 71
"""Status of a process that ran out of memory and could not tell on which line."""
FINDINGS: Final = TypeAdapter(Findings)
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
    validator = DatasetValidator()
    while (frame := read_frame(source)) is not None:
        if frame:
            validator.feed(frame)
            continue
        write_frame(sink, FINDINGS.dump_json(validator.finish()))
        validator = DatasetValidator()


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

"""Naming a process so that others on its machine can tell whether it still lives."""

import contextlib
import os
from pathlib import Path
from typing import Final

_DEAD: Final = ("Z", "X")  # a zombie does nothing any more; it only waits for its parent to read its exit status
_STATE, _START = 0, 19  # fields of /proc/<pid>/stat after the name, which may hold spaces and brackets


def process_name(pid: int) -> str | None:
    """`<pid>:<start>`, which no other process of this machine has had since it was booted. None: no such process.

    The start is counted in ticks since boot and hence indifferent to a clock that is set (unlike psutil's).
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return _without_proc(pid)
    return None if fields[_STATE] in _DEAD else f"{pid}:{fields[_START]}"


def is_alive(name: str) -> bool:
    """Whether the process of that name lives on this machine, in this process's name space of pids."""
    pid, _, _ = name.partition(":")
    return pid.isdigit() and process_name(int(pid)) == name


def _without_proc(pid: int) -> str | None:
    if Path("/proc/self/stat").exists():
        return None
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return f"{pid}:0"
    return None

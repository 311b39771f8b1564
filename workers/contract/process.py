"""Process names that let other processes on the machine check whether a process is alive."""

import contextlib
import os
from pathlib import Path
from typing import Final

_DEAD: Final = ("Z", "X")  # a zombie has exited; it waits for its parent to read its exit status
_STATE, _START = 0, 19  # fields of /proc/<pid>/stat after the name, which may contain spaces and parentheses


def process_name(pid: int) -> str | None:
    """`<pid>:<start>`, unique on this machine since its boot. None: no such process.

    The start counts ticks since boot, so a change of the system clock does not affect it (unlike psutil's).
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return _without_proc(pid)
    return None if fields[_STATE] in _DEAD else f"{pid}:{fields[_START]}"


def is_alive(name: str) -> bool:
    """Whether the process of that name is alive on this machine, in this process's PID namespace."""
    pid, _, _ = name.partition(":")
    return pid.isdigit() and process_name(int(pid)) == name


def _without_proc(pid: int) -> str | None:
    if Path("/proc/self/stat").exists():
        return None
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return f"{pid}:0"
    return None

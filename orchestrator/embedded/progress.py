"""Signs of life of a starting child: its log grows, it starts processes, they compute. How long it takes says nothing
on a busy machine; that nothing of this happens any more does.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

WORK_S: Final = 2.0
"""Processor time that counts as a sign. Idle servers of a start that hangs use less within `ChildSpec.still_s`; a
twentieth of one core is more."""


@dataclass(frozen=True)
class Signs:
    """What can be seen of a child from outside."""

    log_bytes: int
    processes: frozenset[int]
    computed_s: float

    @classmethod
    def of(cls, pid: int, log: Path) -> "Signs":
        """Look at a process, its descendants and its log."""
        found: dict[int, float] = {}
        try:
            leader = psutil.Process(pid)
            for process in (leader, *leader.children(recursive=True)):
                times = process.cpu_times()
                found[process.pid] = times.user + times.system
        except psutil.Error:  # one that ended while it was looked at; the next look is whole
            pass
        size = log.stat().st_size if log.exists() else 0
        return cls(size, frozenset(found), sum(found.values()))

    def differ_from(self, before: "Signs") -> bool:
        """Whether the child did something in between."""
        done_s = self.computed_s - before.computed_s
        return self.log_bytes > before.log_bytes or bool(self.processes - before.processes) or done_s >= WORK_S

    def __str__(self) -> str:
        count = len(self.processes)
        return f"{count} process{'' if count == 1 else 'es'}, {self.computed_s:.0f} s of processor time"

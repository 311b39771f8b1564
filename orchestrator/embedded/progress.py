"""Signs of life of a starting child: its log grows, it starts processes, they compute. How long it takes says nothing
on a busy machine; that nothing of this happens any more does.
"""

from collections.abc import Mapping
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
    computed_s: Mapping[int, float]
    """Processor time of each process, by its id."""

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
        return cls(size, found)

    def differ_from(self, before: "Signs") -> bool:
        """Whether the child did something in between."""
        done_s = sum(now_s - before.computed_s.get(pid, 0.0) for pid, now_s in self.computed_s.items())
        started = self.computed_s.keys() - before.computed_s.keys()
        return self.log_bytes > before.log_bytes or bool(started) or done_s >= WORK_S

    def __str__(self) -> str:
        count, seconds = len(self.computed_s), sum(self.computed_s.values())
        return f"{count} process{'' if count == 1 else 'es'}, {seconds:.0f} s of processor time"

"""Who belongs to a stack: every process that it, or one of its children, ever started; also after a crash."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psutil

MARK: Final = "ORCHARD_EMBEDDED_HOME"
KILL_TIMEOUT_S: Final = 10.0


class ProcessRegistry:
    """The children by name, in `home/run/children.json`: `{name: {"pid": …, "created": …}}`, created in epoch seconds.

    Written after every start, so that the next stack of this home finds what a crashed one left behind.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self.path = home / "run" / "children.json"

    def write(self, pids: Mapping[str, int]) -> None:
        """Replace the roll by these living children."""
        entries = {name: {"pid": pid, "created": _created(pid)} for name, pid in pids.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".tmp")
        draft.write_text(json.dumps(entries, indent=2))
        draft.replace(self.path)

    def read(self) -> dict[int, float]:
        """Creation time by pid; empty when there is no roll or it is not whole."""
        try:
            return {int(entry["pid"]): float(entry["created"]) for entry in json.loads(self.path.read_text()).values()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def kill_all(self) -> int:
        """Kill every process of this home's stack, but not the caller. Returns how many there were."""
        leaders = self.read()
        members = [process for process in psutil.process_iter() if self._belongs(process, leaders)]
        for process in members:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs([each for each in members if not _is_zombie(each)], timeout=KILL_TIMEOUT_S)
        self.path.unlink(missing_ok=True)
        return len(members)

    def _belongs(self, process: psutil.Process, leaders: Mapping[int, float]) -> bool:
        """By the mark in its environment, or by its process group: Ray's agents overwrite their environment."""
        try:
            if process.pid == os.getpid() or process.uids().real != os.getuid() or _is_zombie(process):
                return False
            if process.environ().get(MARK) == str(self._home):
                return True
            group = os.getpgid(process.pid)
            return group in leaders and _leads_still(group, leaders[group])
        except (psutil.Error, OSError):
            return False


def _leads_still(pid: int, created: float) -> bool:
    """False when the pid was given to another process since. A dead leader still lends its group its id."""
    return not psutil.pid_exists(pid) or abs(psutil.Process(pid).create_time() - created) < 1.0


def _created(pid: int) -> float:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return 0.0


def _is_zombie(process: psutil.Process) -> bool:
    return bool(process.status() == psutil.STATUS_ZOMBIE)

"""Orphans: what outlives its host. Processes are found by an inherited environment variable, folders by a free lock.

Ray kills the children of a dead actor, but not those that called `setsid`. These would keep their memory.
"""

import logging
import os
from pathlib import Path
from typing import Final

import psutil

from workers.contract.owned_folder import SCRATCH, remove_abandoned
from workers.contract.process import is_alive, process_name

MARK: Final = "ORCHARD_HOST_PROCESS"
END_TIMEOUT_S: Final = 5.0
log = logging.getLogger(__name__)


def mark_children() -> None:
    """Mark every descendant that this process starts from now on with its name."""
    os.environ[MARK] = process_name(os.getpid()) or ""


def end_orphans() -> list[int]:
    """Kill the orphans of dead hosts on this machine and return their ids. Other users' processes are not visible."""
    return _end([process for process, host in _marked() if not is_alive(host)])


def remove_folders() -> list[Path]:
    """Remove the temporary folders of dead hosts on this machine: they hold tenants' rows and weights."""
    removed = remove_abandoned(SCRATCH)
    for folder in removed:
        log.warning("removed %s, which outlived its host", folder)
    return removed


def end_children() -> list[int]:
    """Kill every descendant of this process. Returns their ids."""
    own = process_name(os.getpid())
    return _end([process for process, host in _marked() if host == own and process.pid != os.getpid()])


def _marked() -> list[tuple[psutil.Process, str]]:
    found = []
    for process in psutil.process_iter():
        try:
            host = process.environ().get(MARK)
        except (psutil.Error, OSError):
            continue
        if host:
            found.append((process, host))
    return found


def _end(processes: list[psutil.Process]) -> list[int]:
    for process in processes:
        log.warning("killing process %s, which outlived its host", process.pid)
        try:
            process.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(processes, timeout=END_TIMEOUT_S)
    return [process.pid for process in processes]

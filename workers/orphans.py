"""Children that outlive their host: marked by an environment variable they inherit, found by it and ended.

Ray ends what a dead actor started, but not what called `setsid` before; that would keep its memory for ever.
"""

import logging
import os
from typing import Final

import psutil

from workers.contract.process import is_alive, process_name

MARK: Final = "ORCHARD_HOST_PROCESS"
END_TIMEOUT_S: Final = 5.0
log = logging.getLogger(__name__)


def mark_children() -> None:
    """Whatever this process starts from now on, and what that starts, carries this process's name."""
    os.environ[MARK] = process_name(os.getpid()) or ""


def end_orphans() -> list[int]:
    """End, on this machine, every process of a host that is dead. Returns their ids. Other users' are not seen."""
    return _end([process for process, host in _marked() if not is_alive(host)])


def end_children() -> list[int]:
    """End every process that this one started, at whatever remove. Returns their ids."""
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
        log.warning("process %s outlived its host and is ended", process.pid)
        try:
            process.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(processes, timeout=END_TIMEOUT_S)
    return [process.pid for process in processes]

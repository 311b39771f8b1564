"""Who holds a lease: a process, named so that one that is started in its place can tell that it is dead."""

import os
from pathlib import Path

from workers.contract.process import is_alive, process_name


def this_process() -> str:
    """`<place>/<process>`: unlike any other process's, on this machine and on others."""
    return f"{boot_id()}/{process_name(os.getpid())}"


def is_dead(holder: str) -> bool:
    """Whether the process has ended. False also when it cannot be seen from here: then only its lease tells.

    Thus an orchestrator that is started again where it was killed need not wait until the old lease is over.
    """
    place, _, process = holder.rpartition("/")
    return place == boot_id() and not is_alive(process)


def boot_id() -> str:
    """The machine as booted now, and the name space in which process ids mean something there."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return os.uname().nodename

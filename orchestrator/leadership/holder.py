"""The process that holds a lease, named so that its replacement can tell whether it is dead."""

import os
from pathlib import Path

from workers.contract.process import is_alive, process_name


def this_process() -> str:
    """`<boot id>/<process>`: unique among all processes on all machines."""
    return f"{boot_id()}/{process_name(os.getpid())}"


def is_dead(holder: str) -> bool:
    """Whether the process has ended. False also if it is not visible from here: then only its lease decides.

    An orchestrator restarted where it was killed does not have to wait for the old lease to expire.
    """
    place, _, process = holder.rpartition("/")
    return place == boot_id() and not is_alive(process)


def boot_id() -> str:
    """The machine's current boot and the PID namespace in it."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return os.uname().nodename

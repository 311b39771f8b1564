"""How many connections fit under the process's limit of open files."""

import resource
from typing import Final

_PER_CONNECTION: Final = 2  # its socket, and the file that it uploads or downloads
_RESERVE: Final = 256  # the database, storage, libraries


def descriptors_for(connections: int) -> int:
    """Descriptors that a process with so many connections may need."""
    return connections * _PER_CONNECTION + _RESERVE


def connections_for(descriptors: int) -> int:
    """Connections that fit under a limit of descriptors; a few in any case."""
    return max(16, (descriptors - _RESERVE) // _PER_CONNECTION)


def raise_descriptor_limit(wanted: int) -> int:
    """Raise this process's soft limit to `wanted` as far as its hard limit allows. Returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    reachable = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))
    return reachable

"""The states of a host row."""

from enum import StrEnum
from typing import Final


class HostState(StrEnum):
    """Where a host is. A row is never deleted; it ends as GONE."""

    STARTING = "starting"
    """Wanted; the loop starts it, and it loads its base."""
    READY = "ready"
    """Its base is resident."""
    STOPPING = "stopping"
    """To be killed; its device counts as taken until that is done."""
    GONE = "gone"


LIVE: Final = frozenset({HostState.STARTING, HostState.READY})
HOLDS_DEVICE: Final = frozenset({HostState.STARTING, HostState.READY, HostState.STOPPING})

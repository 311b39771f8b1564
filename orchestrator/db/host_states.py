"""The states of a host row."""

from enum import StrEnum
from typing import Final


class HostState(StrEnum):
    """The state of a host. Rows are never deleted; GONE is final."""

    STARTING = "starting"
    """Requested; the loop starts it, and it loads its base."""
    READY = "ready"
    """Its base is resident."""
    STOPPING = "stopping"
    """To be killed; its device counts as taken until then."""
    GONE = "gone"


LIVE: Final = frozenset({HostState.STARTING, HostState.READY})
HOLDS_DEVICE: Final = frozenset({HostState.STARTING, HostState.READY, HostState.STOPPING})

"""Failure detection: when an unreachable host may be declared dead. UNKNOWN is not DEAD."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from orchestrator.db.host_states import HostState
from orchestrator.db.tables import HostRow
from workers.contract.host import EXIT_GRACE_S
from workers.contract.spec import HostSpec

LOAD_DEADLINE_S: Final = 1_800
"""A host that is still loading or has never responded is killed after this long."""
LOADING_PATIENCE_S: Final = 600
"""A host that answered and then fell silent while it loads: importing and quantizing keep its interpreter busy, more so
on a busy machine, and a dead one is reported by the cluster itself."""
WRITE_OFF_MARGIN_S: Final = 60.0
"""Margin for a last poll that was answered but not recorded, and for the host's clock."""
_DEFAULT_TIMEOUT_S: Final[float] = HostSpec.model_fields["orchestrator_timeout_s"].default


@dataclass
class FailureDetector:
    """Tracks how long hosts have been unreachable from *this* process. A new leader starts with no history."""

    lease_ttl_s: int
    _since: dict[str, datetime] = field(default_factory=dict)

    def heard(self, host_id: str) -> None:
        """It answered."""
        self._since.pop(host_id, None)

    def not_polled(self) -> None:
        """The cluster itself was unreachable, so silence says nothing about the hosts."""
        self._since.clear()

    def too_long(self, host: HostRow, lease_until: datetime | None, now: datetime) -> str | None:
        """Why to kill the host; None: it may be training, wait.

        The host must have been unreachable for a full lease, and the leases of its seats must have expired (the last
        one at `lease_until`), because another process may have reached it. A host that has never responded may be
        waiting for resources or importing libraries, so it gets the load deadline. One that still loads its base gets
        `LOADING_PATIENCE_S`: no seat trains on it, so nothing is delayed but its jobs' start.
        """
        since = self._since.setdefault(host.id, now)
        patience_s = self._patience_s(host)
        if now - since < timedelta(seconds=patience_s):
            return None
        if lease_until is not None and lease_until > now and host.last_seen_at is not None:
            return None
        return f"The host was not reachable for {patience_s} s and was stopped."

    def _patience_s(self, host: HostRow) -> int:
        if host.last_seen_at is None:
            return LOAD_DEADLINE_S
        return max(LOADING_PATIENCE_S, self.lease_ttl_s) if host.state == HostState.STARTING else self.lease_ttl_s


def has_ended(host: HostRow, now: datetime) -> bool:
    """Whether an unreachable host must have exited by its dead-man switch.

    Measured by the database's clock from the last recorded poll; the host counts from the same poll.
    """
    orchestrator_timeout_s = float(host.spec.get("orchestrator_timeout_s", _DEFAULT_TIMEOUT_S))
    last = host.last_seen_at or host.created_at
    return now - last > timedelta(seconds=orchestrator_timeout_s + EXIT_GRACE_S + WRITE_OFF_MARGIN_S)

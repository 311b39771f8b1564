"""Silent hosts: what may be concluded from no answer, and when. UNKNOWN is not DEAD."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from orchestrator.db.tables import HostRow
from workers.contract.host import EXIT_GRACE_S
from workers.contract.spec import HostSpec

LOAD_DEADLINE_S: Final = 1_800
"""A host that is still loading, or has not answered once, after this long is given up."""
WRITE_OFF_MARGIN_S: Final = 60.0
"""For the poll that was answered last and not recorded, and for the host's clock."""
_DEFAULT_TIMEOUT_S: Final[float] = HostSpec.model_fields["orchestrator_timeout_s"].default


@dataclass
class FailureDetector:
    """Since when hosts have not answered *this* process. One that starts, or takes over, first asks again."""

    lease_ttl_s: int
    _since: dict[str, datetime] = field(default_factory=dict)

    def heard(self, host_id: str) -> None:
        """It answered."""
        self._since.pop(host_id, None)

    def nobody_asked(self) -> None:
        """The cluster itself was out of reach, so that no host was silent."""
        self._since.clear()

    def too_long(self, host: HostRow, lease_until: datetime | None, now: datetime) -> str | None:
        """Why the host is to be ended; None: it may be training, wait.

        It must have been silent for a lease's length, and so long that the leases of its seats, `lease_until` at the
        latest, are over: another process may have heard it. One that never answered may wait for resources or import
        its libraries, so it has as long as one that loads.
        """
        since = self._since.setdefault(host.id, now)
        patience_s = LOAD_DEADLINE_S if host.last_seen_at is None else self.lease_ttl_s
        if now - since < timedelta(seconds=patience_s):
            return None
        if lease_until is not None and lease_until > now and host.last_seen_at is not None:
            return None
        return f"The host did not answer for {patience_s} s and was ended."


def has_ended(host: HostRow, now: datetime) -> bool:
    """Whether a host that can be neither asked nor ended has ended by itself: its own trust in us ran out.

    By the database's clock, from the last answered poll that is recorded; the host counts from the same poll.
    """
    orchestrator_timeout_s = float(host.spec.get("orchestrator_timeout_s", _DEFAULT_TIMEOUT_S))
    last = host.last_seen_at or host.created_at
    return now - last > timedelta(seconds=orchestrator_timeout_s + EXIT_GRACE_S + WRITE_OFF_MARGIN_S)

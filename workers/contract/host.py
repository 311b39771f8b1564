"""The host as the control plane sees it: three calls that never block on training."""

from typing import Protocol

from workers.contract.reports import ExitClass, HostReport
from workers.contract.spec import SeatOrder


class Host(Protocol):
    """One resident base and its seats. Calls return at once; training runs in the host's own thread.

    All three may be repeated: `attach` of an attempt already seated and `detach` of one already gone do nothing.
    """

    def attach(self, order: SeatOrder) -> None:
        """Give the attempt a seat at the next step boundary. Raises: HostFull."""

    def detach(self, job_id: str, attempt: int, reason: ExitClass) -> None:
        """Take the seat away at the next step boundary; it ends with an `Outcome` of class `reason`.

        `PREEMPTED` saves a checkpoint first, `CANCELLED` does not.
        """

    def poll(self, cursor: int) -> HostReport:
        """State of the host and every report with `seq > cursor`. Acknowledges the reports up to `cursor`."""

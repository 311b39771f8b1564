"""The host as the control plane sees it: four calls that never block on training."""

from typing import Final, Protocol

from workers.contract.reports import ExitClass, HostReport
from workers.contract.spec import SeatAssignment

EXIT_GRACE_S: Final = 120.0
"""How long a host may take to save and exit, once no orchestrator polled it for `HostSpec.orchestrator_timeout_s`."""


class Host(Protocol):
    """One resident base and its seats. Calls return at once; training runs in the host's own thread.

    All may be repeated: `attach` of an attempt already seated and `detach` of one already gone do nothing.
    """

    def attach(self, order: SeatAssignment) -> None:
        """Give the attempt a seat at the next step boundary. Raises: HostFull."""

    def detach(self, job_id: str, attempt: int, reason: ExitClass) -> None:
        """Take the seat away at the next step boundary; it ends with an `Outcome` of class `reason`.

        `PREEMPTED` saves a checkpoint first, `CANCELLED` does not.
        """

    def poll(self, cursor: int) -> HostReport:
        """State of the host and every report with `seq > cursor`. Acknowledges the reports up to `cursor`."""

    def retire(self) -> None:
        """Take no more seats, save and end those there are as `PREEMPTED`, verify the base, then report RETIRED.

        Whoever asked then ends the process. `attach` raises HostFull from now on.
        """

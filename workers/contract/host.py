"""The host as the control plane sees it: four calls that never block on training."""

from typing import Final, Protocol

from workers.contract.reports import ExitClass, HostReport
from workers.contract.spec import SeatAssignment

EXIT_GRACE_S: Final = 120.0
"""Seconds that a host has to save and exit after `HostSpec.orchestrator_timeout_s` without a poll."""


class Host(Protocol):
    """One resident base and its seats. Calls return at once; training runs in the host's own thread.

    All calls are idempotent: `attach` of a seated attempt and `detach` of an ended one do nothing.
    """

    def attach(self, order: SeatAssignment) -> None:
        """Give the attempt a seat at the next step boundary. Raises: HostFull."""

    def detach(self, job_id: str, attempt: int, reason: ExitClass) -> None:
        """End the seat at the next step boundary, with an `Outcome` of class `reason`.

        `PREEMPTED` saves a checkpoint first, `CANCELLED` does not.
        """

    def poll(self, cursor: int) -> HostReport:
        """The host's state and every report with `seq > cursor`. Acknowledges the reports up to `cursor`."""

    def retire(self) -> None:
        """Accept no more seats, save and end the current ones as `PREEMPTED`, verify the base, then report RETIRED.

        The caller then ends the process. `attach` raises HostFull from now on.
        """

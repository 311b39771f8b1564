"""`Cluster`: what the orchestrator asks of whatever runs hosts."""

from typing import Protocol

from workers.contract.reports import ExitClass, HostReport
from workers.contract.spec import HostSpec, SeatAssignment


class HostGone(Exception):
    """The host is dead for certain: its actor or process does not exist any more."""


class HostUnreachable(Exception):
    """The host did not answer in time. It may well be training; nothing may be concluded."""


class Cluster(Protocol):
    """Hosts on machines. No call waits for a base to load or a step to end.

    Every method but `start_host` and `host_ids` raises HostGone or HostUnreachable.
    """

    def start_host(self, spec: HostSpec, resources: dict[str, float]) -> None:
        """Start the host unless one of that id lives already. Returns before the base is loaded.

        `resources` are what the flavor asks of the cluster for one host, for example `{"CPU": 1, "GPU": 1}`.
        Raises: HostUnreachable when the cluster itself does not answer.
        """

    def host_ids(self) -> frozenset[str]:
        """Ids of the hosts that live now, found by name. Raises: HostUnreachable."""

    def attach(self, host_id: str, order: SeatAssignment) -> None:
        """See `workers.contract.host.Host.attach`. Raises also: HostFull."""

    def detach(self, host_id: str, job_id: str, attempt: int, reason: ExitClass) -> None:
        """See `workers.contract.host.Host.detach`."""

    def poll(self, host_id: str, cursor: int) -> HostReport:
        """See `workers.contract.host.Host.poll`."""

    def retire(self, host_id: str) -> None:
        """See `workers.contract.host.Host.retire`."""

    def stop_host(self, host_id: str) -> None:
        """Kill the host and everything it started. A host that is gone already is no error."""

"""`Cluster`: the interface through which the orchestrator runs hosts."""

from typing import Protocol

from workers.contract.reports import ExitClass, HostReport
from workers.contract.spec import HostSpec, SeatAssignment


class HostGone(Exception):
    """The host is dead: its actor or process no longer exists."""


class HostUnreachable(Exception):
    """The host did not respond in time. It may still be training, so its state is unknown."""


class Cluster(Protocol):
    """Hosts on machines. No call waits for a base to load or a step to end.

    Every method but `start_host` and `host_ids` raises HostGone or HostUnreachable.
    """

    def start_host(self, spec: HostSpec, resources: dict[str, float]) -> None:
        """Start the host unless one with that id is alive. Returns before the base is loaded.

        `resources` is what the flavor requests for one host, for example `{"CPU": 1, "GPU": 1}`.
        Raises: HostUnreachable when the cluster itself does not respond.
        """

    def host_ids(self) -> frozenset[str]:
        """Ids of the live hosts, found by name. Raises: HostUnreachable."""

    def attach(self, host_id: str, order: SeatAssignment) -> None:
        """See `workers.contract.host.Host.attach`. Raises also: HostFull."""

    def detach(self, host_id: str, job_id: str, attempt: int, reason: ExitClass) -> None:
        """See `workers.contract.host.Host.detach`."""

    def poll(self, host_id: str, cursor: int) -> HostReport:
        """See `workers.contract.host.Host.poll`."""

    def retire(self, host_id: str) -> None:
        """See `workers.contract.host.Host.retire`."""

    def stop_host(self, host_id: str) -> None:
        """Kill the host and every process it started. A host that is already gone is not an error."""

"""`Cluster`: the interface through which the orchestrator runs hosts."""

from typing import Protocol

from workers.contract.encoding import EncodeOrder, EncoderReport
from workers.contract.reports import ExitClass, HostReport
from workers.contract.spec import HostSpec, SeatAssignment


class HostGone(Exception):
    """The host is dead: its actor or process no longer exists."""


class HostUnreachable(Exception):
    """The host did not respond in time. It may still be training, so its state is unknown."""


class EncoderGone(Exception):
    """There is no such encoder: it died, or was never started. `encode` starts it."""


class Cluster(Protocol):
    """Hosts and encoders on machines. No call waits for a base to load, a step to end or a file to be encoded.

    Every method of hosts but `start_host` and `host_ids` raises HostGone or HostUnreachable. Threads may share it.
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

    def encode(self, encoder: int, order: EncodeOrder) -> None:
        """See `workers.contract.encoding.Encoder.encode`; the encoder of that number is started if there is none.

        The order may be lost on its way; `poll_encoder` tells what the encoder has. Raises: HostUnreachable,
        EncoderBusy.
        """

    def abandon(self, encoder: int, key: str) -> None:
        """See `workers.contract.encoding.Encoder.abandon`. Raises: EncoderGone, HostUnreachable."""

    def poll_encoder(self, encoder: int) -> EncoderReport:
        """See `workers.contract.encoding.Encoder.poll`. Raises: EncoderGone, HostUnreachable."""

    def stop_encoder(self, encoder: int) -> None:
        """Kill the encoder. One that is already gone is not an error. Raises: HostUnreachable."""

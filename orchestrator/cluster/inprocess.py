"""`InProcessCluster`: hosts as objects of this process, for fast tests of code that calls a cluster."""

from collections.abc import Callable
from typing import Generic, TypeVar

from typing_extensions import override

from orchestrator.cluster.port import Cluster, EncoderGone, HostGone, HostUnreachable
from workers.contract.encoding import EncodeOrder, Encoder, EncoderReport
from workers.contract.host import Host
from workers.contract.reports import ExitClass, HostReport
from workers.contract.spec import HostSpec, SeatAssignment

HostT = TypeVar("HostT", bound=Host)


class InProcessCluster(Cluster, Generic[HostT]):
    """A `Cluster` without processes. `kill`, `cut` and `heal` are the faults a test may inject.

    `make_host` builds a host from its spec. `end_host` is called with every stopped or killed host, to join its
    threads. `make_encoder` builds an encoder; None: the cluster has no room for any.
    """

    def __init__(
        self,
        make_host: Callable[[HostSpec], HostT],
        end_host: Callable[[HostT], None] | None = None,
        make_encoder: Callable[[], Encoder] | None = None,
    ) -> None:
        self._make_host = make_host
        self._end_host = end_host
        self._make_encoder = make_encoder
        self._encoders: dict[int, Encoder] = {}
        self._hosts: dict[str, HostT] = {}
        self._silent: set[str] = set()
        self.answers: bool = True
        """False: the whole cluster is unreachable. Its hosts keep running."""
        self.resources: dict[str, dict[str, float]] = {}
        """The resources of each host ever started, by host id."""

    @override
    def start_host(self, spec: HostSpec, resources: dict[str, float]) -> None:
        self._require_cluster()
        if spec.id not in self._hosts:
            self._hosts[spec.id] = self._make_host(spec)
            self.resources[spec.id] = dict(resources)

    @override
    def host_ids(self) -> frozenset[str]:
        self._require_cluster()
        return frozenset(self._hosts)

    @override
    def attach(self, host_id: str, order: SeatAssignment) -> None:
        self._reach(host_id).attach(order)

    @override
    def detach(self, host_id: str, job_id: str, attempt: int, reason: ExitClass) -> None:
        self._reach(host_id).detach(job_id, attempt, reason)

    @override
    def poll(self, host_id: str, cursor: int) -> HostReport:
        return self._reach(host_id).poll(cursor)

    @override
    def retire(self, host_id: str) -> None:
        self._reach(host_id).retire()

    @override
    def stop_host(self, host_id: str) -> None:
        self._require_cluster()
        self.kill(host_id)

    @override
    def encode(self, encoder: int, order: EncodeOrder) -> None:
        self._require_cluster()
        if self._make_encoder is None:
            raise HostUnreachable("the cluster has no room for an encoder")
        if encoder not in self._encoders:
            self._encoders[encoder] = self._make_encoder()
        self._encoders[encoder].encode(order)

    @override
    def abandon(self, encoder: int, key: str) -> None:
        self._reach_encoder(encoder).abandon(key)

    @override
    def poll_encoder(self, encoder: int) -> EncoderReport:
        return self._reach_encoder(encoder).poll()

    @override
    def stop_encoder(self, encoder: int) -> None:
        self._require_cluster()
        self.kill_encoder(encoder)

    def kill_encoder(self, encoder: int) -> None:
        """Kill the encoder; what it was at work on is lost."""
        self._encoders.pop(encoder, None)

    def host(self, host_id: str) -> HostT:
        """The living host itself, for a test to drive. Raises: HostGone."""
        if host_id not in self._hosts:
            raise HostGone(f"there is no host {host_id} here")
        return self._hosts[host_id]

    def kill(self, host_id: str) -> None:
        """Kill the host; its unreported results are lost."""
        self._silent.discard(host_id)
        host = self._hosts.pop(host_id, None)
        if host is not None and self._end_host is not None:
            self._end_host(host)

    def cut(self, host_id: str) -> None:
        """The host stops responding but keeps running, until `heal`."""
        self._silent.add(host_id)

    def heal(self, host_id: str) -> None:
        """The host responds again."""
        self._silent.discard(host_id)

    def _require_cluster(self) -> None:
        if not self.answers:
            raise HostUnreachable("the cluster does not respond")

    def _reach(self, host_id: str) -> HostT:
        self._require_cluster()
        host = self.host(host_id)
        if host_id in self._silent:
            raise HostUnreachable(f"host {host_id} does not respond")
        return host

    def _reach_encoder(self, encoder: int) -> Encoder:
        self._require_cluster()
        if encoder not in self._encoders:
            raise EncoderGone(f"there is no encoder {encoder} here")
        return self._encoders[encoder]

"""`RayCluster`: every host is a detached, named actor `host-<id>` that outlives the orchestrator."""

import threading
import time
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, cast

import structlog
from typing_extensions import override

import workers
from orchestrator.cluster.port import Cluster, HostGone, HostUnreachable
from orchestrator.cluster.ray_connection import RayConnection, is_loopback
from orchestrator.cluster.ray_encoders import RayEncoders
from workers.contract.encoding import EncodeOrder, EncoderReport
from workers.contract.errors import InfraError, WorkerError
from workers.contract.reports import ExitClass, HostReport
from workers.contract.spec import HostSpec, SeatAssignment

PREFIX: Final = "host-"
CONCURRENT_CALLS: Final = 8
"""Threads of an actor, so that it answers `poll` while another call is running."""
log = structlog.get_logger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


def _alone(method: Callable[P, T]) -> Callable[P, T]:
    """A call that no other thread's meets: a lost connection is dropped for all at once."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with cast(RayCluster, args[0]).lock:
            return method(*args, **kwargs)

    return call


class RayCluster(Cluster):
    """Hosts and encoders on a Ray cluster whose head is at `address`. Threads take turns.

    `actor` is the class that wraps a host, by default `workers.actor.HostActor`. A host that answered its last call
    gets `answer_timeout_s` for the next; any other host gets only `silence_timeout_s`, because a host that hangs or
    waits for resources must not slow the loop down.
    """

    def __init__(
        self,
        address: str,
        namespace: str = "orchard",
        *,
        actor: type | None = None,
        encoder_actor: type | None = None,
        answer_timeout_s: float = 10.0,
        silence_timeout_s: float = 0.2,
    ) -> None:
        self.lock = threading.RLock()
        self._connection = RayConnection(address, namespace)
        self._encoders = RayEncoders(self._connection, encoder_actor, worker_environment(address))
        self._actor = actor
        self._answer_timeout_s = answer_timeout_s
        self._silence_timeout_s = silence_timeout_s
        self._polls: dict[str, tuple[int, int, Any]] = {}  # host id -> generation, cursor, pending reference
        self._talking: set[str] = set()
        self._doomed: set[str] = set()  # killed, but not yet seen to exit

    @override
    @_alone
    def start_host(self, spec: HostSpec, resources: dict[str, float]) -> None:
        ray = self._connection.ray()
        cpus, gpus, custom = split_resources(resources)
        actor = ray.remote(self._actor or _host_actor())
        host = actor.options(
            name=PREFIX + spec.id,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=0,  # a restart inside Ray would hide an attempt from the database
            max_task_retries=0,
            max_concurrency=CONCURRENT_CALLS,
            num_cpus=cpus,
            num_gpus=gpus,
            resources=custom,
            runtime_env={"env_vars": worker_environment(self._connection.address)},
        )
        with self._connection.asking():
            host.remote(spec.model_dump_json())
        log.info("host_started", host=spec.id, resources=resources)

    @override
    @_alone
    def host_ids(self) -> frozenset[str]:
        return frozenset(name.removeprefix(PREFIX) for name in self._connection.names() if name.startswith(PREFIX))

    @override
    @_alone
    def attach(self, host_id: str, order: SeatAssignment) -> None:
        self._call(host_id, "attach", order.model_dump_json())

    @override
    @_alone
    def detach(self, host_id: str, job_id: str, attempt: int, reason: ExitClass) -> None:
        self._call(host_id, "detach", job_id, attempt, reason.value)

    @override
    @_alone
    def poll(self, host_id: str, cursor: int) -> HostReport:
        handle = self._handle(host_id)
        generation, asked, reference = self._polls.pop(host_id, (0, 0, None))
        if reference is None or (generation, asked) != (self._connection.generation, cursor):
            reference = handle.poll.remote(cursor)
        self._polls[host_id] = (self._connection.generation, cursor, reference)
        answer = self._answer(host_id, reference)
        del self._polls[host_id]
        return HostReport.model_validate_json(answer)

    @override
    @_alone
    def retire(self, host_id: str) -> None:
        self._call(host_id, "retire")

    @override
    @_alone
    def stop_host(self, host_id: str) -> None:
        ray = self._connection.ray()
        try:
            handle = self._handle(host_id)
        except HostGone:
            self._doomed.discard(host_id)
            return
        with self._connection.asking():
            ray.kill(handle, no_restart=True)
        self._forget(host_id)
        self._wait_until_gone(host_id)

    @override
    @_alone
    def encode(self, encoder: int, order: EncodeOrder) -> None:
        self._encoders.encode(encoder, order)

    @override
    @_alone
    def abandon(self, encoder: int, key: str) -> None:
        self._encoders.abandon(encoder, key)

    @override
    @_alone
    def poll_encoder(self, encoder: int) -> EncoderReport:
        return self._encoders.poll(encoder)

    @override
    @_alone
    def stop_encoder(self, encoder: int) -> None:
        self._encoders.stop(encoder)

    @_alone
    def close(self) -> None:
        """Disconnect from the cluster; its hosts and encoders keep running."""
        self._connection.drop()

    def _call(self, host_id: str, method: str, *arguments: object) -> None:
        """Call a host that is known to respond: a call queued before the host starts would run at any later time.

        A pending poll may have been answered before this call, so its result is dropped.
        """
        handle = self._handle(host_id)
        if host_id not in self._talking:
            self._answer(host_id, handle.__ray_ready__.remote())
        self._answer(host_id, getattr(handle, method).remote(*arguments))
        self._polls.pop(host_id, None)

    def _wait_until_gone(self, host_id: str) -> None:
        """Wait on the first kill only: a host on an unreachable machine must not slow down every later pass."""
        patience_s = self._silence_timeout_s if host_id in self._doomed else self._answer_timeout_s
        deadline = time.monotonic() + patience_s
        self._doomed.add(host_id)
        while host_id in self.host_ids():
            if time.monotonic() > deadline:
                raise HostUnreachable(f"host {host_id} was killed and has not exited yet; stop it again")
            time.sleep(0.02)
        self._doomed.discard(host_id)

    def _handle(self, host_id: str) -> Any:
        ray = self._connection.ray()
        try:
            with self._connection.asking():
                return ray.get_actor(PREFIX + host_id, namespace=self._connection.namespace)
        except ValueError as error:
            self._forget(host_id)
            raise HostGone(f"there is no host {host_id} on the cluster") from error

    def _answer(self, host_id: str, reference: Any) -> Any:
        """The result of one call. Raises: HostGone, HostUnreachable, or the WorkerError that the host raised."""
        import ray

        timeout = self._answer_timeout_s if host_id in self._talking else self._silence_timeout_s
        try:
            answer = ray.get(reference, timeout=timeout)
        except ray.exceptions.GetTimeoutError as error:
            self._talking.discard(host_id)
            raise HostUnreachable(f"host {host_id} did not answer within {timeout:g} s") from error
        except ray.exceptions.ActorUnavailableError as error:
            self._forget(host_id)
            raise HostUnreachable(f"host {host_id} cannot be reached: {error}") from error
        except ray.exceptions.RayActorError as error:
            self._forget(host_id)
            raise HostGone(f"host {host_id} is dead: {error}") from error
        except ray.exceptions.RayTaskError as error:
            self._polls.pop(host_id, None)
            raise contract_error(host_id, error.cause) from error
        except ray.exceptions.RayError as error:
            self._forget(host_id)
            raise HostUnreachable(f"calling host {host_id} failed: {error}") from error
        self._talking.add(host_id)
        return answer

    def _forget(self, host_id: str) -> None:
        self._polls.pop(host_id, None)
        self._talking.discard(host_id)


def _host_actor() -> type:
    from workers.actor import HostActor

    return HostActor


def contract_error(host_id: str, cause: BaseException) -> WorkerError:
    """The error that a host raised, as a contract error; any other exception becomes an InfraError."""
    return cause if isinstance(cause, WorkerError) else InfraError(f"host {host_id} failed to answer: {cause!r}")


def split_resources(resources: Mapping[str, float]) -> tuple[float, float, dict[str, float]]:
    """CPUs, GPUs and custom resources, as an actor's `options` expects them."""
    custom = {name: amount for name, amount in resources.items() if name not in ("CPU", "GPU")}
    return resources.get("CPU", 0), resources.get("GPU", 0), custom


def worker_environment(address: str) -> dict[str, str]:
    """Variables of a host's process. A checkout on this machine has to be on its path for it to import `workers`.

    A cluster of several machines, or containers, has Orchard installed on each: no path of this machine means anything
    there, and setting one would hide the node's own `PYTHONPATH`.
    """
    root = Path(workers.__file__).resolve().parents[1]
    host, _, _ = address.rpartition(":")
    return {"PYTHONPATH": str(root)} if is_loopback(host) and (root / "pyproject.toml").is_file() else {}

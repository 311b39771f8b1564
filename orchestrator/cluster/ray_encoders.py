"""Encoders on Ray: detached actors `encoder-<version>-<number>`, started by their first order and kept warm."""

from typing import Any, Final

import structlog

from orchestrator.cluster.port import EncoderGone, HostUnreachable
from orchestrator.cluster.ray_connection import RayConnection
from workers.contract.encoding import ENCODER_RESOURCE, ENCODER_VERSION, EncodeOrder, EncoderReport

PREFIX: Final = "encoder-"
CONCURRENT_CALLS: Final = 4
POLL_S: Final = 0.5
"""How long a poll waits for its answer; the next one goes on waiting for the same."""
log = structlog.get_logger(__name__)


class RayEncoders:
    """The encoders of `RayCluster`, over its connection."""

    def __init__(self, connection: RayConnection, actor: type | None, environment: dict[str, str]) -> None:
        """`actor`: the class of an encoder, by default `workers.actor.EncoderActor`."""
        self._connection = connection
        self._actor = actor
        self._environment = environment
        self._polls: dict[int, tuple[int, Any]] = {}  # encoder -> generation, pending reference

    def encode(self, encoder: int, order: EncodeOrder) -> None:
        """See `Cluster.encode`."""
        try:
            handle = self._handle(encoder)
        except EncoderGone:
            handle = self._start(encoder)
        self._polls.pop(encoder, None)  # answered before this order, it would not name it
        with self._connection.asking():
            handle.encode.remote(order.model_dump_json())

    def abandon(self, encoder: int, key: str) -> None:
        """See `Cluster.abandon`."""
        handle = self._handle(encoder)
        with self._connection.asking():
            handle.abandon.remote(key)

    def poll(self, encoder: int) -> EncoderReport:
        """See `Cluster.poll_encoder`."""
        import ray

        handle = self._handle(encoder)
        generation, reference = self._polls.pop(encoder, (0, None))
        if reference is None or generation != self._connection.generation:
            reference = handle.poll.remote()
        try:
            answer: str = ray.get(reference, timeout=POLL_S)
        except ray.exceptions.GetTimeoutError as error:
            self._polls[encoder] = (self._connection.generation, reference)
            raise HostUnreachable(f"encoder {encoder} did not answer within {POLL_S:g} s") from error
        except ray.exceptions.ActorUnavailableError as error:
            raise HostUnreachable(f"encoder {encoder} cannot be reached: {error}") from error
        except ray.exceptions.RayActorError as error:
            raise EncoderGone(f"encoder {encoder} is dead: {error}") from error
        except ray.exceptions.RayError as error:
            raise HostUnreachable(f"calling encoder {encoder} failed: {error}") from error
        return EncoderReport.model_validate_json(answer)

    def stop(self, encoder: int) -> None:
        """See `Cluster.stop_encoder`."""
        try:
            handle = self._handle(encoder)
        except EncoderGone:
            return
        self._kill(handle)
        self._polls.pop(encoder, None)

    def _start(self, encoder: int) -> Any:
        self._end_others()
        ray = self._connection.ray()
        options = ray.remote(self._actor or _encoder_actor()).options(
            name=_name(encoder),
            lifetime="detached",
            get_if_exists=True,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=CONCURRENT_CALLS,
            num_cpus=0,
            resources={ENCODER_RESOURCE: 1},
            runtime_env={"env_vars": self._environment},
        )
        with self._connection.asking():
            handle = options.remote()
        log.info("encoder_started", encoder=encoder)
        return handle

    def _end_others(self) -> None:
        """End encoders of other versions: they would give other tokens, and hold this one's resource."""
        ray = self._connection.ray()
        for name in self._connection.names():
            if name.startswith(PREFIX) and not name.startswith(_name("")):
                try:
                    self._kill(ray.get_actor(name, namespace=self._connection.namespace))
                except ValueError:
                    continue  # it is gone

    def _kill(self, handle: Any) -> None:
        ray = self._connection.ray()
        with self._connection.asking():
            ray.kill(handle, no_restart=True)

    def _handle(self, encoder: int) -> Any:
        ray = self._connection.ray()
        try:
            with self._connection.asking():
                return ray.get_actor(_name(encoder), namespace=self._connection.namespace)
        except ValueError as error:
            self._polls.pop(encoder, None)
            raise EncoderGone(f"there is no encoder {encoder} on the cluster") from error


def _name(encoder: int | str) -> str:
    return f"{PREFIX}{ENCODER_VERSION}-{encoder}"


def _encoder_actor() -> type:
    from workers.actor import EncoderActor

    return EncoderActor

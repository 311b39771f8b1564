"""The driver's connection to a Ray cluster: opened lazily, dropped when the head is down, reopened when it is back.

Ray 2.60 exits the driver's process after waiting 60 s for a dead head, and aborts it when it asks a restarted head
for its nodes. So this module probes the head's port before every use, drops the connection at the first sign of
another head (`WrongClusterID`), and makes no global-state calls.
"""

import contextlib
import ipaddress
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import ModuleType
from typing import Final

import structlog

from orchestrator.cluster.port import HostUnreachable

PROBE_TIMEOUT_S: Final = 2.0
log = structlog.get_logger(__name__)


class RayConnection:
    """One driver of the cluster at `address` (`host:port` of the head), in one namespace.

    Needs the cluster's token: `RAY_AUTH_TOKEN_PATH` or `RAY_AUTH_TOKEN` in the environment.
    """

    def __init__(self, address: str, namespace: str) -> None:
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"Ray address {address!r} is not host:port; give the head's address, for example ray:6379")
        self.address = address
        self.namespace = namespace
        self._head = (host, int(port))
        self._connected = False
        self._probe: Future[list[str]] | None = None
        self.generation = 0
        """Increases with every new connection: handles of earlier ones are invalid."""

    def ray(self) -> ModuleType:
        """The `ray` module, connected to a responsive head. Raises: HostUnreachable."""
        if not self._head_listens():
            self.drop()
            raise HostUnreachable(f"the Ray head at {self.address} does not respond")
        if self._connected and not self._same_head():
            self.drop()
        if not self._connected:
            self._connect()
        import ray

        return ray  # type: ignore[no-any-return]

    def names(self) -> frozenset[str]:
        """Names of the live actors in the namespace. Raises: HostUnreachable."""
        ray = self.ray()
        with self.asking():
            return frozenset(ray.util.list_named_actors())

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Wraps every call that reaches the head: the head may go down after `ray` has probed it.

        Raises: HostUnreachable for Ray's errors.
        """
        import ray

        try:
            yield
        except (ray.exceptions.RayError, OSError) as error:
            raise HostUnreachable(f"calling the Ray head at {self.address} failed: {error}") from error

    def drop(self) -> None:
        """Close the connection. Detached actors keep running."""
        if self._connected:
            import ray

            self._connected = False
            self._probe = None
            ray.shutdown()

    def _head_listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(self._head, timeout=PROBE_TIMEOUT_S):
            return True
        return False

    def _same_head(self) -> bool:
        """False: another head has replaced it. Runs in a thread, because Ray would wait a minute and then exit."""
        import ray

        probe = self._probe = self._probe or _asked(ray.util.list_named_actors)
        try:
            probe.result(PROBE_TIMEOUT_S)
        except OSError as error:  # timeouts too, ours and Ray's: it hangs, or it died after the probe
            raise HostUnreachable(f"the Ray head at {self.address} listens but does not respond") from error
        except (ray.exceptions.RayError, RuntimeError) as error:
            log.warning("ray_head_changed", address=self.address, error=str(error)[:200])
            return False
        finally:
            if probe.done():  # keep one that hangs, or each call would leak a thread
                self._probe = None
        return True

    def _connect(self) -> None:
        set_driver_environment(self._head[0])
        import ray

        try:
            ray.init(self.address, namespace=self.namespace, log_to_driver=False, logging_level="ERROR")
        except (OSError, RuntimeError, ray.exceptions.RayError) as error:
            ray.shutdown()
            raise HostUnreachable(f"the Ray head at {self.address} refused the connection: {error}") from error
        self._connected = True
        self.generation += 1


def _asked(call: Callable[[], list[str]]) -> Future[list[str]]:
    """A future answered by a daemon thread, so that a hanging call does not block process exit."""
    answer: Future[list[str]] = Future()

    def ask() -> None:
        try:
            answer.set_result(call())
        except Exception as error:  # noqa: BLE001  # raised where the future is read
            answer.set_exception(error)

    threading.Thread(target=ask, name="ray-head", daemon=True).start()
    return answer


def set_driver_environment(head: str) -> None:
    """Set the variables that Ray reads on first import.

    A head on loopback means one machine: Ray must not replace 127.0.0.1 with the machine's external address. The
    oddly named variable below turns that off (`ray._private.services.resolve_ip_for_localhost`).

    When a call to the head fails, Ray exits a process whose raylet has died. If it does not know the raylet, it tests
    whether the parent is process 1, which is true of every systemd service. So the driver names itself as its raylet.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ["RAY_RAYLET_PID"] = str(os.getpid())
    if is_loopback(head):
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


def is_loopback(host: str) -> bool:
    """Whether `host` is an address of this machine's loopback interface."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

"""The driver's connection to a Ray cluster: made lazily, dropped when the head is away, made anew when it is back.

Learnt from Ray 2.60 itself: a driver that waits for a dead head for 60 s ends its own process, and one that asks a
restarted head for its nodes aborts. So the head's port is probed before every use, the first sign of another head
(`WrongClusterID`) drops the connection, and no global-state call is ever made.
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
        self._question: Future[list[str]] | None = None
        self.generation = 0
        """Grows with every new connection: handles of an older one are void."""

    def ray(self) -> ModuleType:
        """The `ray` module, connected to a head that answers. Raises: HostUnreachable."""
        if not self._head_listens():
            self.drop()
            raise HostUnreachable(f"the Ray head at {self.address} does not answer")
        if self._connected and not self._same_head():
            self.drop()
        if not self._connected:
            self._connect()
        import ray

        return ray  # type: ignore[no-any-return]

    def names(self) -> frozenset[str]:
        """Names of the actors of the namespace that are not dead. Raises: HostUnreachable."""
        ray = self.ray()
        with self.asking():
            return frozenset(ray.util.list_named_actors())

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Around every call that Ray makes of its head: the head may go away after `ray` has found it there.

        Raises: HostUnreachable for what Ray raises then.
        """
        import ray

        try:
            yield
        except (ray.exceptions.RayError, OSError) as error:
            raise HostUnreachable(f"the Ray head at {self.address} cannot be asked: {error}") from error

    def drop(self) -> None:
        """Close the connection. Detached actors live on."""
        if self._connected:
            import ray

            self._connected = False
            self._question = None
            ray.shutdown()

    def _head_listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(self._head, timeout=PROBE_TIMEOUT_S):
            return True
        return False

    def _same_head(self) -> bool:
        """False: another head is there now. Asks in a thread, for Ray would wait a minute and then exit."""
        import ray

        question = self._question = self._question or _asked(ray.util.list_named_actors)
        try:
            question.result(PROBE_TIMEOUT_S)
        except OSError as error:  # time-outs too, ours and Ray's own: it hangs, or died since its port was probed
            raise HostUnreachable(f"the Ray head at {self.address} listens but does not answer") from error
        except (ray.exceptions.RayError, RuntimeError) as error:
            log.warning("ray_head_changed", address=self.address, error=str(error)[:200])
            return False
        finally:
            if question.done():  # one that hangs stays open, or each call would leave another thread behind
                self._question = None
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


def _asked(question: Callable[[], list[str]]) -> Future[list[str]]:
    """The answer to come, from a thread that does not keep the process from ending when it hangs."""
    answer: Future[list[str]] = Future()

    def ask() -> None:
        try:
            answer.set_result(question())
        except Exception as error:  # noqa: BLE001  # it is raised where the answer is read
            answer.set_exception(error)

    threading.Thread(target=ask, name="ray-head", daemon=True).start()
    return answer


def set_driver_environment(head: str) -> None:
    """What Ray reads when it is first imported.

    A head on loopback is one machine: Ray then must not swap 127.0.0.1 for the machine's outer address, which the
    variable with the odd name below turns off (`ray._private.services.resolve_ip_for_localhost`).

    When a call to the head fails, Ray ends a process whose raylet has died; not knowing the raylet, it looks whether
    the parent is process 1, as every service of systemd has it. A driver has no raylet to follow: it follows itself.
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

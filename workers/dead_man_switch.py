"""The dead-man switch: a host that no orchestrator polls saves its seats and exits."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from workers.contract.host import EXIT_GRACE_S

LOOK_S: Final = 1.0
log = logging.getLogger(__name__)


class DeadManSwitch:
    """Time since the last poll, on a monotonic clock.

    A host cut off from its orchestrator keeps training for `orchestrator_timeout_s`, which is longer than an
    orchestrator restart takes. After that its jobs may soon be seated elsewhere, so it has `EXIT_GRACE_S` to save its
    seats and exit. Shared by threads.
    """

    def __init__(self, orchestrator_timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout_s = orchestrator_timeout_s
        self._clock = clock
        self._polled = clock()

    def renew(self) -> None:
        """Record a poll."""
        self._polled = self._clock()

    @property
    def lapsed(self) -> bool:
        """No poll for `orchestrator_timeout_s`: save the seats and exit."""
        return self._clock() - self._polled > self._timeout_s

    @property
    def spent(self) -> bool:
        """The grace period for saving is over too."""
        return self._clock() - self._polled > self._timeout_s + EXIT_GRACE_S


def exit_when_expired(switch: DeadManSwitch, done: Callable[[], bool], leave: Callable[[], None]) -> None:
    """Call `leave` once the switch has lapsed and the host is `done` with its seats, or once the grace period is spent.

    It watches in its own thread because the engine may hang.
    """

    def watch() -> None:
        while not (switch.spent or (switch.lapsed and done())):
            time.sleep(LOOK_S)
        log.error("no orchestrator has polled this host within its timeout; the host exits")
        leave()

    threading.Thread(target=watch, name="dead-man-switch", daemon=True).start()

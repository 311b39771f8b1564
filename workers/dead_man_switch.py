"""How long a host may believe that it is still wanted, and what it does when it may not."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from workers.contract.host import EXIT_GRACE_S

LOOK_S: Final = 1.0
log = logging.getLogger(__name__)


class DeadManSwitch:
    """Time since the last poll, on a clock nobody can set.

    A host cut off from its orchestrator trains for `orchestrator_timeout_s` more, which is longer than an orchestrator
    takes to be back. Then its seats may soon be given to others, so it has `EXIT_GRACE_S` to save them and be
    gone. Shared by threads.
    """

    def __init__(self, orchestrator_timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._trust_s = orchestrator_timeout_s
        self._clock = clock
        self._heard = clock()

    def renew(self) -> None:
        """Somebody polled."""
        self._heard = self._clock()

    @property
    def lapsed(self) -> bool:
        """Nobody has polled for `orchestrator_timeout_s`: save what there is, and leave."""
        return self._clock() - self._heard > self._trust_s

    @property
    def spent(self) -> bool:
        """The time to save is over as well."""
        return self._clock() - self._heard > self._trust_s + EXIT_GRACE_S


def exit_when_expired(trust: DeadManSwitch, done: Callable[[], bool], leave: Callable[[], None]) -> None:
    """Watch, in a thread of its own, for the engine may hang: call `leave` once trust has lapsed and the host is
    `done` with its seats, and in any case when the time is spent.
    """

    def watch() -> None:
        while not (trust.spent or (trust.lapsed and done())):
            time.sleep(LOOK_S)
        log.error("nobody has polled this host for too long; it leaves")
        leave()

    threading.Thread(target=watch, name="trust", daemon=True).start()

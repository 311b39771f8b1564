"""Trying storage again: with growing, jittered pauses, for a bounded time, while somebody still wants the result."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import (
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_after_delay,
    stop_when_event_set,
    wait_exponential_jitter,
)

from workers.contract.errors import StorageUnavailable

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """How long storage may be away before something is given up, and how often it is asked meanwhile. Seconds."""

    total_s: float
    first_pause_s: float = 0.5
    longest_pause_s: float = 15.0

    def call(self, work: Callable[[], T], unwanted: threading.Event) -> T:
        """`work()`, repeated while storage is away. Raises the last StorageUnavailable once the time is over, or
        `unwanted` is set; anything else at once.
        """
        retrying = Retrying(
            retry=retry_if_exception(may_heal),
            wait=wait_exponential_jitter(
                multiplier=self.first_pause_s, max=self.longest_pause_s, jitter=self.first_pause_s
            ),
            stop=stop_after_delay(self.total_s) | stop_when_event_set(unwanted),
            sleep=sleep_using_event(unwanted),
            reraise=True,
        )
        return retrying(work)

    def pause_s(self, tries: int, chance: float) -> float:
        """The pause after `tries` failures, for those who cannot sleep. `chance`: from [0, 1)."""
        return min(self.first_pause_s * 2.0 ** min(tries - 1, 30) + chance * self.first_pause_s, self.longest_pause_s)


def may_heal(error: BaseException) -> bool:
    """Whether waiting can help."""
    return isinstance(error, StorageUnavailable) and error.retryable

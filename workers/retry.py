"""Retries of storage calls: exponential backoff with jitter, for a bounded time, until the result is unwanted."""

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
    """How long a call is retried while storage is unavailable, and how long it pauses between tries. Seconds."""

    total_s: float
    first_pause_s: float = 0.5
    longest_pause_s: float = 15.0

    def call(self, work: Callable[[], T], unwanted: threading.Event) -> T:
        """`work()`, retried while storage is unavailable. Raises the last StorageUnavailable once the time is over or
        `unwanted` is set. Raises any other error at once.
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
        """The pause after `tries` failures, for callers that schedule instead of sleeping. `chance`: from [0, 1)."""
        return min(self.first_pause_s * 2.0 ** min(tries - 1, 30) + chance * self.first_pause_s, self.longest_pause_s)


def may_heal(error: BaseException) -> bool:
    """Whether a retry can help."""
    return isinstance(error, StorageUnavailable) and error.retryable

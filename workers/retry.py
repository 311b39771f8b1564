"""Retries of storage calls: exponential backoff with jitter, for a bounded time, until the result is unwanted."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from tenacity import (
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_after_delay,
    stop_when_event_set,
)

from workers.contract.backoff import Backoff
from workers.contract.errors import StorageUnavailable

T = TypeVar("T")
BACKOFF: Final = Backoff(first_s=1.0, longest_s=15.0)


@dataclass(frozen=True)
class RetryPolicy:
    """How long a call is retried while storage is unavailable, and how long it pauses between tries. Seconds."""

    total_s: float
    backoff: Backoff = BACKOFF

    def call(self, work: Callable[[], T], unwanted: threading.Event) -> T:
        """`work()`, retried while storage is unavailable. Raises the last StorageUnavailable once the time is over or
        `unwanted` is set. Raises any other error at once.
        """
        retrying = Retrying(
            retry=retry_if_exception(may_heal),
            wait=lambda state: self.backoff.pause_s(state.attempt_number, random.random()),  # noqa: S311  # no secret
            stop=stop_after_delay(self.total_s) | stop_when_event_set(unwanted),
            sleep=sleep_using_event(unwanted),
            reraise=True,
        )
        return retrying(work)


def may_heal(error: BaseException) -> bool:
    """Whether a retry can help."""
    return isinstance(error, StorageUnavailable) and error.retryable

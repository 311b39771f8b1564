"""Decides what happens to a delivery after a try. Pure: depends on the attempts, the age and the response."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from orchestrator.webhooks.send import DeliveryResponse
from workers.contract.backoff import Backoff

LONGEST_PAUSE_S: Final = 3 * 3600.0
BACKOFF: Final = Backoff(first_s=5.0, longest_s=LONGEST_PAUSE_S)
GIVE_UP_S: Final = 3 * 86_400.0
GONE: Final = 410


@dataclass(frozen=True)
class Delivered:
    """The receiver accepted it."""


@dataclass(frozen=True)
class Retry:
    """It is retried at this time."""

    at: datetime


@dataclass(frozen=True)
class Failed:
    """It is not retried. `disables`: the endpoint is disabled too."""

    disables: bool = False


DeliveryDecision = Delivered | Retry | Failed


def after_try(
    answer: DeliveryResponse, attempts: int, created_at: datetime, now: datetime, jitter: Callable[[], float]
) -> DeliveryDecision:
    """2xx: delivered. 410: the endpoint is disabled. Anything else, redirects too, is retried for three days.

    Backoff doubles from 5 s to 3 h, each shortened at random by up to a half (`jitter` gives 0..1), to spread
    deliveries that failed together. A longer Retry-After is honored up to the same 3 h. `attempts` includes this one.
    """
    if answer.status is not None and 200 <= answer.status < 300:
        return Delivered()
    if answer.status == GONE:
        return Failed(disables=True)
    pause_s = max(BACKOFF.pause_s(attempts, 1 - jitter()), min(answer.retry_after_s or 0.0, LONGEST_PAUSE_S))
    at = now + timedelta(seconds=pause_s)
    return Failed() if at - created_at > timedelta(seconds=GIVE_UP_S) else Retry(at)

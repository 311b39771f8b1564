"""Prefetching: a new seat's data is read in the background and collected at a step boundary."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Final

from workers.bases import LoadedBase
from workers.contract.reports import CheckpointRejected
from workers.engine.attempt import Attempt, AttemptKey
from workers.engine.prepare import Ready, read
from workers.methods import METHODS, Site
from workers.retry import RetryPolicy

RETRY_FOR: Final = RetryPolicy(total_s=300)
"""For reads of rows and checkpoints while storage is unavailable."""


@dataclass(frozen=True)
class _Reading:
    future: Future[Ready]
    rejected: list[CheckpointRejected]


class Prefetcher:
    """Prepares new attempts side by side: a thread of `executor` each.

    Owned by the engine's thread. `wake` is called, from any thread, when an attempt is ready.
    """

    def __init__(self, base: LoadedBase, executor: Executor, wake: Callable[[], None]) -> None:
        self._base = base
        self._executor = executor
        self._wake = wake
        self._site = Site.of(base.model)
        self._under_way: dict[AttemptKey, _Reading] = {}

    def begin(self, attempt: Attempt) -> None:
        """Start to prepare the attempt. Checks that need no data run at once.

        Raises: BaseUnavailable, InvalidTargetModules.
        """
        spec = attempt.order.spec
        self._base.require_suits(spec)
        shapes = METHODS.of(spec.method).shapes(spec.method, self._site)
        rejected: list[CheckpointRejected] = []

        def read_again() -> Ready:
            rejected.clear()
            return read(attempt.order, self._base, shapes, rejected.append)

        future = self._executor.submit(RETRY_FOR.call, read_again, attempt.done)
        self._under_way[attempt.key] = _Reading(future, rejected)
        future.add_done_callback(lambda _: self._wake())

    def ready(self, attempt: Attempt, report: Callable[[CheckpointRejected], None]) -> Ready | None:
        """The attempt's data, returned once; None while it is read. Rejected checkpoints are reported first.

        Raises: StorageUnavailable, EncodedRowsLost.
        """
        reading = self._under_way[attempt.key]
        if not reading.future.done():
            return None
        del self._under_way[attempt.key]
        for rejection in reading.rejected:
            report(rejection)
        return reading.future.result()

    def forget(self, attempt: Attempt) -> None:
        """The attempt is over: cancel its read, unless it has begun."""
        reading = self._under_way.pop(attempt.key, None)
        if reading is not None:
            reading.future.cancel()

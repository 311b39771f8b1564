"""Preparing ahead: what a newcomer needs is read beside training, and picked up at a step boundary."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Final

from workers.bases import LoadedBase
from workers.contract.reports import CheckpointRejected
from workers.engine.attempt import Attempt, AttemptKey
from workers.engine.prepare import Ready, read
from workers.methods import METHODS
from workers.methods.linears import adaptable_linears
from workers.retry import RetryPolicy

RETRY_FOR: Final = RetryPolicy(total_s=300)
"""With storage that is away while rows or checkpoints are read."""


@dataclass(frozen=True)
class _Reading:
    future: Future[Ready]
    rejected: list[CheckpointRejected]


class Prefetcher:
    """Newcomers in the order they came. `executor` must use one thread: the tokenizer is used by it alone.

    Owned by the engine's thread. `wake` is called, from whichever thread, when a newcomer is ready.
    """

    def __init__(self, base: LoadedBase, executor: Executor, wake: Callable[[], None]) -> None:
        self._base = base
        self._executor = executor
        self._wake = wake
        self._linears = adaptable_linears(base.model)
        self._under_way: dict[AttemptKey, _Reading] = {}

    def begin(self, attempt: Attempt) -> None:
        """Have the attempt prepared. What needs no reading is checked here and now.

        Raises: BaseUnavailable, InvalidTargetModules.
        """
        spec = attempt.order.spec
        self._base.require_suits(spec)
        shapes = METHODS.of(spec.method).shapes(spec.method, self._linears)
        rejected: list[CheckpointRejected] = []

        def read_anew() -> Ready:
            rejected.clear()
            return read(attempt.order, self._base, shapes, rejected.append, attempt.done.is_set)

        future = self._executor.submit(RETRY_FOR.call, read_anew, attempt.done)
        self._under_way[attempt.key] = _Reading(future, rejected)
        future.add_done_callback(lambda _: self._wake())

    def ready(self, attempt: Attempt, report: Callable[[CheckpointRejected], None]) -> Ready | None:
        """What was read for the attempt, once; None while it is being read. Rejected checkpoints are told of first.

        Raises: StorageUnavailable, DataError, ValidationDataError.
        """
        reading = self._under_way[attempt.key]
        if not reading.future.done():
            return None
        del self._under_way[attempt.key]
        for rejection in reading.rejected:
            report(rejection)
        return reading.future.result()

    def forget(self, attempt: Attempt) -> None:
        """The attempt is over: what was not begun never will be, and the rest stops at the next row."""
        reading = self._under_way.pop(attempt.key, None)
        if reading is not None:
            reading.future.cancel()

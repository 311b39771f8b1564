"""Writing off the step path: what checkpoints and adapters are made of is copied at a step boundary, then written.

Storage that is away stops nobody's training. A checkpoint is tried for a while and then given up with a warning: the
next one is due soon. A finished adapter is tried for longer, and its seat waits for it.
"""

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Final, TypeVar

from workers.bases import LoadedBase
from workers.checkpoints import Snapshot, save_checkpoint
from workers.contract.errors import StorageUnavailable
from workers.contract.reports import AdapterManifest, CheckpointManifest, SeatWarning
from workers.engine.attempt import Attempt, AttemptKey
from workers.engine.export import publish_adapter
from workers.engine.stopping import BestWeights
from workers.retry import RetryPolicy

CHECKPOINT_RETRY: Final = RetryPolicy(total_s=120)
ADAPTER_RETRY: Final = RetryPolicy(total_s=900)
BEHIND_S: Final = 10.0
"""A checkpoint under way for longer holds its seat up no more: those that come due meanwhile are passed over."""

T = TypeVar("T")


@dataclass(frozen=True)
class _Writing:
    step: int
    since: float
    future: Future[CheckpointManifest]


class Saver:
    """Writes for all seats of a host, in turn; at most one checkpoint of an attempt is under way.

    Owned by the engine's thread. `wake` is called, from whichever thread, when something is written. A process that
    dies meanwhile leaves a folder without a manifest, which nobody will ever resume from.
    """

    def __init__(self, base: LoadedBase, executor: Executor, wake: Callable[[], None]) -> None:
        self._base = base
        self._executor = executor
        self._wake = wake
        self._away = False  # what the last write found; set by the writing thread
        self._checkpoints: dict[AttemptKey, _Writing] = {}
        self._adapters: dict[AttemptKey, Future[AdapterManifest]] = {}

    def save(self, attempt: Attempt, snapshot: Snapshot) -> None:
        """Have `snapshot` written. The one before must have been fetched by `saved`."""
        write = self._noting(lambda: save_checkpoint(attempt.order, snapshot, self._base.digest))
        future = self._executor.submit(CHECKPOINT_RETRY.call, write, attempt.done)
        self._checkpoints[attempt.key] = _Writing(snapshot.step, time.monotonic(), future)
        future.add_done_callback(lambda _: self._wake())

    def saving(self, attempt: Attempt) -> bool:
        """Whether a checkpoint of the attempt is under way, or written and not fetched."""
        return attempt.key in self._checkpoints

    def behind(self, attempt: Attempt) -> bool:
        """Whether the checkpoint under way is not worth waiting for."""
        return self._away or time.monotonic() - self._checkpoints[attempt.key].since > BEHIND_S

    def saved(self, attempt: Attempt) -> CheckpointManifest | SeatWarning | None:
        """The attempt's checkpoint when it is whole in storage, or that it was given up; once."""
        writing = self._checkpoints.get(attempt.key)
        if writing is None or not writing.future.done():
            return None
        del self._checkpoints[attempt.key]
        try:
            return writing.future.result()
        except StorageUnavailable as error:
            message = f"No checkpoint of step {writing.step} could be kept: {error}. Training goes on without it."
            return attempt.report(SeatWarning, step=writing.step, message=message)

    def publish(self, attempt: Attempt, result: BestWeights) -> None:
        """Have the finished adapter written, after the checkpoint that may be under way."""
        write = self._noting(lambda: publish_adapter(attempt.order, result, self._base))
        future = self._executor.submit(ADAPTER_RETRY.call, write, attempt.done)
        self._adapters[attempt.key] = future
        future.add_done_callback(lambda _: self._wake())

    def published(self, attempt: Attempt) -> AdapterManifest | None:
        """The attempt's adapter, when it is whole in storage. Raises StorageUnavailable when it was given up."""
        future = self._adapters[attempt.key]
        return future.result() if future.done() else None

    def forget(self, attempt: Attempt) -> None:
        """The attempt is over: whatever is still being written will not be told of, nor tried again."""
        self._checkpoints.pop(attempt.key, None)
        self._adapters.pop(attempt.key, None)

    def _noting(self, write: Callable[[], T]) -> Callable[[], T]:
        """`write` that leaves word whether storage can be reached."""

        def noted() -> T:
            try:
                written = write()
            except StorageUnavailable:
                self._away = True
                raise
            self._away = False
            return written

        return noted

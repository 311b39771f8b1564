"""Background writes: checkpoints and adapters are copied at a step boundary, then written in another thread.

A storage outage does not stop training. A checkpoint is retried for a while and then given up with a warning: the next
one is due soon. A finished adapter is retried for longer, and its seat waits for it.
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
"""A seat does not wait longer for its previous checkpoint: checkpoints due in the meantime are skipped."""

T = TypeVar("T")


@dataclass(frozen=True)
class _Writing:
    step: int
    since: float
    future: Future[CheckpointManifest]


class Saver:
    """Writes for all seats of a host, one at a time; each attempt has at most one checkpoint in progress.

    Owned by the engine's thread. `wake` is called, from any thread, when a write ends. A process that dies during a
    write leaves a folder without a manifest; no attempt resumes from it.
    """

    def __init__(self, base: LoadedBase, executor: Executor, wake: Callable[[], None]) -> None:
        self._base = base
        self._executor = executor
        self._wake = wake
        self._away = False  # whether the last write found storage unavailable; set by the writing thread
        self._checkpoints: dict[AttemptKey, _Writing] = {}
        self._adapters: dict[AttemptKey, Future[AdapterManifest]] = {}

    def save(self, attempt: Attempt, snapshot: Snapshot) -> None:
        """Submit `snapshot` for writing. `saved` must have returned the previous one."""
        write = self._noting(lambda: save_checkpoint(attempt.order, snapshot, self._base.digest))
        future = self._executor.submit(CHECKPOINT_RETRY.call, write, attempt.done)
        self._checkpoints[attempt.key] = _Writing(snapshot.step, time.monotonic(), future)
        future.add_done_callback(lambda _: self._wake())

    def saving(self, attempt: Attempt) -> bool:
        """Whether a checkpoint of the attempt is in progress, or written and not yet returned by `saved`."""
        return attempt.key in self._checkpoints

    def behind(self, attempt: Attempt) -> bool:
        """Whether the seat should skip a checkpoint instead of waiting for the one in progress."""
        return self._away or time.monotonic() - self._checkpoints[attempt.key].since > BEHIND_S

    def saved(self, attempt: Attempt) -> CheckpointManifest | SeatWarning | None:
        """The attempt's checkpoint once it is complete in storage, or a warning that it was given up. Returned once."""
        writing = self._checkpoints.get(attempt.key)
        if writing is None or not writing.future.done():
            return None
        del self._checkpoints[attempt.key]
        try:
            return writing.future.result()
        except StorageUnavailable as error:
            message = f"The checkpoint of step {writing.step} was not saved: {error}. Training continues without it."
            return attempt.report(SeatWarning, step=writing.step, message=message)

    def publish(self, attempt: Attempt, result: BestWeights) -> None:
        """Submit the finished adapter for writing, after any checkpoint in progress."""
        write = self._noting(lambda: publish_adapter(attempt.order, result, self._base))
        future = self._executor.submit(ADAPTER_RETRY.call, write, attempt.done)
        self._adapters[attempt.key] = future
        future.add_done_callback(lambda _: self._wake())

    def published(self, attempt: Attempt) -> AdapterManifest | None:
        """The attempt's adapter once it is complete in storage. Raises StorageUnavailable when it was given up."""
        future = self._adapters[attempt.key]
        return future.result() if future.done() else None

    def forget(self, attempt: Attempt) -> None:
        """The attempt is over: writes in progress are not reported and not retried."""
        self._checkpoints.pop(attempt.key, None)
        self._adapters.pop(attempt.key, None)

    def _noting(self, write: Callable[[], T]) -> Callable[[], T]:
        """`write`, which also records whether storage is reachable."""

        def noted() -> T:
            try:
                written = write()
            except StorageUnavailable:
                self._away = True
                raise
            self._away = False
            return written

        return noted

"""Writing off the step path: what checkpoints and adapters are made of is copied at a step boundary, then written."""

from collections.abc import Callable
from concurrent.futures import Executor, Future

from workers.bases import LoadedBase
from workers.checkpoints import Snapshot, save_checkpoint
from workers.contract.reports import AdapterManifest, CheckpointManifest
from workers.engine.attempt import Attempt, AttemptKey
from workers.engine.export import publish_adapter
from workers.engine.stopping import Milestone


class Saver:
    """Writes for all seats of a host, in turn; at most one checkpoint of an attempt is under way.

    Owned by the engine's thread. `wake` is called, from whichever thread, when something is written. A process that
    dies meanwhile leaves a folder without a manifest, which nobody will ever resume from.
    """

    def __init__(self, base: LoadedBase, executor: Executor, wake: Callable[[], None]) -> None:
        self._base = base
        self._executor = executor
        self._wake = wake
        self._checkpoints: dict[AttemptKey, Future[CheckpointManifest]] = {}
        self._adapters: dict[AttemptKey, Future[AdapterManifest]] = {}

    def save(self, attempt: Attempt, snapshot: Snapshot) -> None:
        """Have `snapshot` written. The one before must have been fetched by `saved`."""
        future = self._executor.submit(save_checkpoint, attempt.order, snapshot, self._base.digest)
        self._checkpoints[attempt.key] = future
        future.add_done_callback(lambda _: self._wake())

    def saving(self, attempt: Attempt) -> bool:
        """Whether a checkpoint of the attempt is under way, or written and not fetched."""
        return attempt.key in self._checkpoints

    def saved(self, attempt: Attempt) -> CheckpointManifest | None:
        """The attempt's checkpoint, once, when it is whole in storage. Raises StorageUnavailable."""
        future = self._checkpoints.get(attempt.key)
        if future is None or not future.done():
            return None
        del self._checkpoints[attempt.key]
        return future.result()

    def publish(self, attempt: Attempt, result: Milestone) -> None:
        """Have the finished adapter written, after the checkpoint that may be under way."""
        future = self._executor.submit(publish_adapter, attempt.order, result, self._base)
        self._adapters[attempt.key] = future
        future.add_done_callback(lambda _: self._wake())

    def published(self, attempt: Attempt) -> AdapterManifest | None:
        """The attempt's adapter, when it is whole in storage. Raises StorageUnavailable."""
        future = self._adapters[attempt.key]
        return future.result() if future.done() else None

    def forget(self, attempt: Attempt) -> None:
        """The attempt is over: whatever is still being written will not be told of."""
        self._checkpoints.pop(attempt.key, None)
        self._adapters.pop(attempt.key, None)

"""Writing checkpoints off the step path: snapshots are taken at a step boundary and written by a thread."""

from concurrent.futures import Future, ThreadPoolExecutor

from workers.checkpoints import Snapshot, save_checkpoint
from workers.contract.reports import CheckpointManifest
from workers.engine.attempt import Attempt, AttemptKey


class Saver:
    """One writing thread for a host; at most one checkpoint of an attempt is under way. Owned by the engine's thread.

    A process that dies meanwhile leaves a folder without a manifest, which nobody will ever resume from.
    """

    def __init__(self) -> None:
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._under_way: dict[AttemptKey, Future[CheckpointManifest]] = {}

    def save(self, attempt: Attempt, snapshot: Snapshot, base_digest: str) -> None:
        """Have `snapshot` written. The one before must have been fetched by `finished` or `wait`."""
        self._under_way[attempt.key] = self._writer.submit(save_checkpoint, attempt.order, snapshot, base_digest)

    def finished(self, attempt: Attempt) -> CheckpointManifest | None:
        """The attempt's checkpoint, once, when it is whole in storage. Raises StorageUnavailable."""
        future = self._under_way.get(attempt.key)
        return self.wait(attempt) if future is not None and future.done() else None

    def wait(self, attempt: Attempt) -> CheckpointManifest | None:
        """The attempt's checkpoint, once, however long it takes; None when none is under way. Raises as `finished`."""
        future = self._under_way.pop(attempt.key, None)
        return None if future is None else future.result()

    def forget(self, attempt: Attempt) -> None:
        """The attempt is over: whatever is still being written will not be told of."""
        self._under_way.pop(attempt.key, None)

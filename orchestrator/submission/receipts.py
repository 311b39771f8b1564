"""Which jobs the callers of this process are known to know: a job that a client asks for by its id was answered.

That bytes of an answer were sent proves nothing: a proxy or a network may have lost them. Kept in memory, a little for
each key; without it a job only stays what it was before, a candidate for a repeated POST.
"""

import threading
from collections import OrderedDict
from typing import Final

KEYS: Final = 1_000
JOBS: Final = 100
"""Of one key; the latest count."""


class Receipts:
    """Job ids that were named by requests, by API key. Thread-safe."""

    def __init__(self) -> None:
        self._named: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, key_id: str, job_id: str) -> None:
        """A request of the key has named the job."""
        with self._lock:
            jobs = self._named.setdefault(key_id, OrderedDict())
            jobs[job_id] = None
            jobs.move_to_end(job_id)
            self._named.move_to_end(key_id)
            if len(jobs) > JOBS:
                jobs.popitem(last=False)
            if len(self._named) > KEYS:
                self._named.popitem(last=False)

    def of(self, key_id: str) -> tuple[str, ...]:
        """The jobs that the key is known to know."""
        with self._lock:
            return tuple(self._named.get(key_id, ()))

"""`StreamSlots`: how many event streams a key may have open in this process."""

import threading
from collections import Counter

from orchestrator.errors import TooManyStreams


class StreamSlots:
    """Counts the open streams of each key. Safe for use by several threads."""

    def __init__(self, per_key: int) -> None:
        self._per_key = per_key
        self._open: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, key_id: str) -> None:
        """Count one more, to be given back. Raises: TooManyStreams."""
        with self._lock:
            if self._open[key_id] >= self._per_key:
                raise TooManyStreams(
                    f"This key has {self._per_key} event streams open, as many as it may have. Close one, or read the "
                    "events without `stream`."
                )
            self._open[key_id] += 1

    def give_back(self, key_id: str) -> None:
        """Count one less."""
        with self._lock:
            self._open[key_id] -= 1
            if not self._open[key_id]:
                del self._open[key_id]

"""`Slots`: how many of something each key or tenant has at once in this process."""

import threading
from collections import Counter


class Slots:
    """Counts what each holder has. Thread-safe; a holder that has nothing takes no memory."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, holder: str, at_most: int) -> bool:
        """Count one more, to be given back. False: the holder has `at_most` already."""
        with self._lock:
            if self._held[holder] >= at_most:
                return False
            self._held[holder] += 1
            return True

    def give_back(self, holder: str) -> None:
        """Count one less."""
        with self._lock:
            self._held[holder] -= 1
            if not self._held[holder]:
                del self._held[holder]

"""`Backoff`: pauses between retries, for all that retries here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Pauses that double from `first_s` to `longest_s`. `jitter` is the share that chance may take away, so that what
    failed together does not return together.
    """

    first_s: float
    longest_s: float
    jitter: float = 0.5

    def pause_s(self, failures: int, chance: float) -> float:
        """Seconds to wait after `failures` failures in a row, at least one. `chance`: 0 to 1, where 1 is the whole."""
        whole_s = min(self.first_s * 2.0 ** min(failures - 1, 30), self.longest_s)
        return whole_s * (1.0 - self.jitter * (1.0 - chance))

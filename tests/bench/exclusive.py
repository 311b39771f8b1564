"""One bench at a time: two at once on the same cores slow each other many times over, and measure nothing."""

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.bases import cache_folder


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other bench of this user runs, and keep others waiting meanwhile."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another bench to end", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield

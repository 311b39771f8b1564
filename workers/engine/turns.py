"""Turns of the readers: threads that turn rows into tokens, one for each new seat.

One of them computes at a time. Python runs one thread at once anyway, more of them would take the interpreter from
the engine, and a base's tokenizer serves one caller. Readers hand the turn on after a slice, also in the middle of a
row, so that a seat with long rows delays the others by its share of the time and no more. Who waits for storage has no
turn.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from workers.data.pausing import Abandoned

SLICE_S: Final = 0.05


class Turns:
    """The turn, and who waits for it, first come, first served. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Event] = deque()

    @property
    def wanted(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiting)

    def take(self) -> None:
        """Wait for the turn."""
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Event()
            self._waiting.append(mine)
        mine.wait()

    def give(self) -> None:
        """Hand the turn to who waits longest."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._taken = False


class Reader:
    """One reading of a seat's rows. Owned by its thread, but for `unwanted`."""

    def __init__(
        self,
        turns: Turns,
        unwanted: Callable[[], bool],
        count: Callable[[int], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`count` is told how many rows are done. `clock` counts seconds."""
        self._turns = turns
        self._unwanted = unwanted
        self._count = count
        self._clock = clock
        self._since: float | None = None  # when it took the turn that it has
        self._rows = 0
        count(0)

    def pause(self) -> None:
        """Have the turn from now on; hand it on first if its slice is over. Raises: Abandoned."""
        if self._since is not None and self._clock() - self._since >= SLICE_S and self._turns.wanted:
            self.rest()
        if self._unwanted():
            raise Abandoned
        if self._since is None:
            self._turns.take()
            self._since = self._clock()
            if self._unwanted():
                raise Abandoned

    def rest(self) -> None:
        """Hand the turn on, if it has it."""
        if self._since is not None:
            self._since = None
            self._turns.give()

    def row_done(self) -> None:
        """One more row is tokens."""
        self._rows += 1
        self._count(self._rows)

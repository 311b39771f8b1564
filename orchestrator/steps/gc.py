"""Clearing: taking rows one after the other whose bytes have to go, though some of them cannot."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog

from orchestrator.errors import ServiceError
from orchestrator.steps.step import Counts

IN_A_ROW: Final = 3
"""Rows that fail one after the other before a pass takes it for an outage; each may wait for the same time-out."""

log = structlog.get_logger()
T = TypeVar("T")


@dataclass
class GcPass(Generic[T]):
    """The passes of one step over rows that leave its query once they are cleared.

    A row that cannot be cleared is skipped, and stays in the query. A pass that did not get to the end of it is
    therefore followed by one that begins behind the rows that stayed: they keep nobody from having a turn.
    """

    a_pass: int
    """Rows that one pass takes."""
    later: tuple[type[Exception], ...] = (ServiceError,)
    """What says that a row cannot be cleared now."""
    _stayed: int = 0
    """Rows before the place where the next pass begins."""

    def run(
        self, due: Callable[[int, int], Sequence[T]], clear: Callable[[T], Counts], name: Callable[[T], str]
    ) -> Counts:
        """One pass. `due(offset, limit)` asks for rows in an order that lasts, `name` is for the log.

        What `clear` counts as refused stays without having failed. Counts as delayed what is `later`, and passes on
        whatever else `clear` raises.
        """
        counts, failed = Counts(), 0
        rows = due(self._stayed, self.a_pass)
        for row in rows:
            try:
                done = clear(row)
            except self.later as error:
                log.warning("not cleared, tried again later", what=name(row), error=f"{type(error).__name__}: {error}")
                done, failed = Counts(delayed=1), failed + 1
            else:
                failed = 0
            self._stayed += done["delayed"] + done["refused"]
            counts += done
            if failed == IN_A_ROW:
                return counts
        if len(rows) < self.a_pass:
            self._stayed = 0
        return counts

"""Garbage-collection passes over rows whose bytes must be deleted, where single deletions may fail."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog

from orchestrator.errors import ServiceError
from orchestrator.steps.step import Counts

IN_A_ROW: Final = 3
"""Consecutive failures after which a pass assumes an outage; each may wait for the same timeout."""

log = structlog.get_logger()
T = TypeVar("T")


@dataclass
class GcPass(Generic[T]):
    """The passes of one step over rows that leave its query once they are collected.

    A row that cannot be collected is skipped and stays in the query. If a pass does not reach the end of the query, the
    next one begins after the skipped rows, so that they do not block the others.
    """

    a_pass: int
    """Maximum rows per pass."""
    later: tuple[type[Exception], ...] = (ServiceError,)
    """Errors that mean that a row cannot be collected now."""
    _stayed: int = 0
    """Offset at which the next pass begins."""

    def run(
        self, due: Callable[[int, int], Sequence[T]], collect: Callable[[T], Counts], name: Callable[[T], str]
    ) -> Counts:
        """One pass. `due(offset, limit)` returns rows in a stable order; `name` is for the log.

        Rows that `collect` counts as refused stay without counting as failures. Errors in `later` count as delayed; any
        other error of `collect` is raised.
        """
        counts, failed = Counts(), 0
        rows = due(self._stayed, self.a_pass)
        for row in rows:
            try:
                done = collect(row)
            except self.later as error:
                log.warning("not collected, will retry", what=name(row), error=f"{type(error).__name__}: {error}")
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

"""Steps: small, repeatable units of the loops' work that return what they did."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from orchestrator.outages import outage

log = structlog.get_logger()

Counts = Counter[str]
"""Verb -> count. Empty: there was nothing to do."""


class LeadershipLost(Exception):
    """Another process leads now. Nothing was written, and no step of this term may continue."""


class Step(Protocol):
    """A small, repeatable unit of work."""

    def run_once(self, now: datetime) -> Counts:
        """Do the work that is due and return what was done."""


@dataclass(frozen=True)
class StepSequence:
    """Runs several steps in order. A step that raises does not stop the others."""

    steps: Sequence[Step]

    def run_once(self, now: datetime) -> Counts:
        """Run every step. Errors are logged and counted. Raises: LeadershipLost."""
        counts = Counts()
        for step in self.steps:
            name = type(step).__name__
            try:
                counts += step.run_once(now)
            except LeadershipLost:
                raise
            except Exception as error:  # noqa: BLE001  # a bug or outage in one step must not stop the others
                counts[log_step_error(error, name)] += 1
        return counts


def log_step_error(error: Exception, step: str, **about: str) -> str:
    """Log a step's error and return the name to count it under. An outage takes one line; a bug gets a traceback."""
    if outage(error) is None:
        log.error("step failed", step=step, **about, exc_info=error)
        return "errors"
    log.warning("outage, step will be retried", step=step, **about, error=f"{type(error).__name__}: {error}"[:200])
    return "outages"

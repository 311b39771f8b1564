"""How long an attempt takes for a step, as its meter measured it. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from orchestrator.db.effect_tables import UsageRow
from orchestrator.db.job_tables import AttemptRow

WINDOW: Final = 15
"""Minutes with reports that count, newest first. What a step takes changes as neighbors come and go."""


@dataclass(frozen=True)
class Progress:
    """How many steps were done when a report of them came."""

    step: int
    at: datetime


@dataclass(frozen=True)
class StepRate:
    """The recent steps of one attempt. Pauses, waits, loading, preparing and other attempts are not in it."""

    seconds_per_step: float
    """By the clock, evaluations between the steps included."""
    measured_at: datetime

    def finish(self, remaining_steps: int, now: datetime) -> datetime:
        """When that many more steps are done, at this rate; never before `now`."""
        return max(self.measured_at + timedelta(seconds=self.seconds_per_step * remaining_steps), now)


def measured_rate(session: Session, job_id: str, attempt: int) -> StepRate | None:
    """The rate of an attempt; None before it has reported steps twice."""
    seat = and_(AttemptRow.job_id == UsageRow.job_id, AttemptRow.number == UsageRow.attempt)
    minutes = (
        select(UsageRow.step, UsageRow.metered_until, AttemptRow.rate_from_step, AttemptRow.rate_from)
        .join(AttemptRow, seat)
        .where(UsageRow.job_id == job_id, UsageRow.attempt == attempt, AttemptRow.rate_from.is_not(None))
        .order_by(UsageRow.minute.desc())
        .limit(WINDOW + 1)
    )
    found = session.execute(minutes).all()
    if not found:
        return None
    began = Progress(found[0].rate_from_step, found[0].rate_from)
    return rate_of(began, [Progress(row.step, row.metered_until) for row in found])


def rate_of(began: Progress, ends: Sequence[Progress]) -> StepRate | None:
    """The rate from the first steps on, or from the oldest of `ends` (of minutes, newest first) if that is later."""
    if not ends:
        return None
    newest, since = ends[0], max(began, ends[-1], key=lambda progress: progress.at) if len(ends) > WINDOW else began
    steps, seconds = newest.step - since.step, (newest.at - since.at).total_seconds()
    return StepRate(seconds / steps, newest.at) if steps > 0 and seconds > 0 else None

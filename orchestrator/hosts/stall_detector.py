"""Detects stalled hosts. Heartbeats prove that the process is alive; only step counters prove that it trains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from statistics import median
from typing import Final

from orchestrator.hosts.report_ingest import heartbeats
from workers.contract.reports import Heartbeat, HostReport

STEPS_KEPT: Final = 32
SLOW_STEPS: Final = 10
"""A step may take this many times the median of the steps before it."""
UNSEEN_S: Final = 30.0
"""A gap between two answers counts as stalled time only up to this: the host was not observed."""
SeatKey = tuple[str, int]


@dataclass(frozen=True)
class StallLimits:
    """How long a seat may make no progress, in seconds."""

    training_s: float = 600.0
    other_s: float = 3_600.0
    """While it waits, prepares, evaluates or saves."""


@dataclass(frozen=True)
class Progress:
    """A seat's phase and step, how long it was observed there, and the durations of its last steps."""

    phase: str
    step: int
    seen: datetime
    still_s: float = 0.0
    steps_s: tuple[float, ...] = ()


def advanced(before: Progress | None, heartbeat: Heartbeat, now: datetime) -> Progress:
    """The progress after one more heartbeat."""
    if before is None:
        return Progress(heartbeat.phase, heartbeat.step, now)
    still_s = before.still_s + min((now - before.seen).total_seconds(), UNSEEN_S)
    if (heartbeat.phase, heartbeat.step) == (before.phase, before.step):
        return replace(before, seen=now, still_s=still_s)
    steps = heartbeat.step - before.step
    taken = (still_s / steps,) if steps > 0 and before.phase == "training" else ()
    steps_s = (*before.steps_s, *taken)[-STEPS_KEPT:]
    return Progress(heartbeat.phase, heartbeat.step, now, steps_s=steps_s)


def limit_s(progress: Progress, stall_limits: StallLimits) -> float:
    """How long a seat with this progress may stall."""
    if progress.phase != "training":
        return stall_limits.other_s
    return max(stall_limits.training_s, SLOW_STEPS * median(progress.steps_s) if progress.steps_s else 0.0)


def stands_still(seats: Sequence[Progress], stall_limits: StallLimits) -> bool:
    """Whether all seats of the host stall. One seat within its limit clears the others, because seats take turns."""
    return bool(seats) and all(seat.still_s > limit_s(seat, stall_limits) for seat in seats)


@dataclass
class StallDetector:
    """The progress of all seats as this process observed it. A new leader starts with no history."""

    stall_limits: StallLimits = field(default_factory=StallLimits)
    _progress: dict[str, Mapping[SeatKey, Progress]] = field(default_factory=dict)

    def stuck(self, answer: HostReport, now: datetime) -> str | None:
        """Why to kill the host; None: it makes progress, or that is unknown."""
        pulses = {(beat.job_id, beat.attempt): beat for beat in heartbeats(answer)}
        if not pulses:
            return None
        before = self._progress.get(answer.host_id, {})
        progress = {key: advanced(before.get(key), heartbeat, now) for key, heartbeat in pulses.items()}
        self._progress[answer.host_id] = progress
        if {job_id for job_id, _ in pulses} < set(answer.seats) or not stands_still(
            [*progress.values()], self.stall_limits
        ):
            return None
        least_s = min(seat.still_s for seat in progress.values())
        stalled = f"none of its {len(progress)} seat(s) made progress for {least_s:.0f} s"
        return f"The host responds, but {stalled}; it was stopped."

    def forget(self, host_id: str) -> None:
        """Drop the state of a host that is gone."""
        self._progress.pop(host_id, None)

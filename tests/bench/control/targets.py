"""What is promised, and whether it was met."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Target:
    """One figure of an engine's report and its bound."""

    bound: float
    at_least: bool
    of: Callable[[dict[str, Any]], float]

    def judged(self, measured: float) -> dict[str, Any]:
        met = measured >= self.bound if self.at_least else measured <= self.bound
        return {"bound": self.bound, "measured": measured, "met": met}


TARGETS: Final = {
    "submits_per_s": Target(300.0, True, lambda figures: figures["submit"]["submits_per_s"]),
    "submit_p50_ms_at_100_per_s": Target(10.0, False, lambda figures: figures["submit"]["at_rate"]["p50_ms"]),
    "submit_p99_ms_at_100_per_s": Target(50.0, False, lambda figures: figures["submit"]["at_rate"]["p99_ms"]),
    "claim_p99_full_to_empty": Target(2.0, False, lambda figures: figures["depth"]["p99_ratio"]["claim"]),
}
LIVE: Final = {
    "submit_to_first_step_p50_ms": Target(1_500.0, False, lambda figures: figures["submit_to_first_step"]["p50_ms"]),
    "worker_death_seen_max_ms": Target(5_000.0, False, lambda figures: figures["worker_death_seen"]["max_ms"]),
    "orchestrator_killed_to_next_act_max_ms": Target(
        20_000.0, False, lambda figures: figures["orchestrator_killed_to_next_act"]["max_ms"]
    ),
}


def judge(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every target whose figure the report has."""
    judged: dict[str, dict[str, Any]] = {}
    for engine, figures in report["engines"].items():
        for name, target in TARGETS.items():
            judged |= _one(f"{engine}: {name}", target, figures)
    for name, target in LIVE.items():
        judged |= _one(name, target, report.get("live", {}))
    return judged


def _one(name: str, target: Target, figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    try:
        return {name: target.judged(target.of(figures))}
    except KeyError:  # that part was not measured
        return {}

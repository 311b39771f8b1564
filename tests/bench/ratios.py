"""What the rounds say: seconds, tokens per second, and the ratios R1 to R4, R8 and R10 of the benchmark suite."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import bitsandbytes
from torch import nn

from tests.bench.peers import Run
from tests.bench.rounds import Round
from tests.bench.spread import spread
from tests.bench.workloads import Job

FLOPS_PER_WEIGHT: Final = 4  # 2 forward and 2 for the gradient of the inputs; frozen weights need none themselves

Seconds = Callable[[Run], float]


def _steps_only(run: Run) -> float:
    return run.train_s


def _makespan(run: Run) -> float:
    return run.makespan_s


def _cpu(run: Run) -> float:
    return run.cpu_s


COMPARED: Final[tuple[tuple[str, str, Seconds], ...]] = (
    ("R1_vs_sequential", "sequential", _steps_only),
    ("R1_makespan", "sequential", _makespan),
    ("R1_cpu_time", "sequential", _cpu),
    ("R2_vs_process_cold", "process", _makespan),
    ("R2_vs_process_warm", "process", _steps_only),
    ("R3_vs_separate_steps", "turns", _steps_only),
    ("vs_mixed", "mixed", _steps_only),
)


def peer_figures(name: str, rounds: Sequence[Round], jobs: Sequence[Job]) -> dict[str, Any]:
    """One peer's seconds, tokens per second and pads."""
    runs = [round_[name] for round_ in rounds]
    tokens, supervised = sum(job.tokens for job in jobs), sum(job.supervised for job in jobs)
    steps = sum(job.steps for job in jobs)
    figures: dict[str, Any] = {
        "train_s": spread([run.train_s for run in runs]),
        "attach_s": spread([run.attach_s for run in runs]),
        "cpu_s": spread([run.cpu_s for run in runs]),
        "ms_per_job_step": spread([1000 * run.train_s / steps for run in runs]),
        "tokens_per_s": spread([tokens / run.train_s for run in runs]),
        "supervised_tokens_per_s": spread([supervised / run.train_s for run in runs]),
    }
    if slots := runs[-1].slots:
        figures["pad_fraction"] = round(1 - tokens / slots, 4)
    return figures | dict(runs[-1].notes)


def ratios(subject: str, rounds: Sequence[Round], jobs: Sequence[Job], limit_tokens_per_s: float) -> dict[str, Any]:
    """`subject` beside the other peers of the run; above 1 the subject is faster."""
    tokens = sum(job.tokens for job in jobs)
    found: dict[str, Any] = {}
    for label, other, seconds in COMPARED:
        if other != subject and other in rounds[0]:
            found[label] = _faster(subject, other, rounds, seconds)
    found["R4_share_of_limit"] = spread([tokens / round_[subject].train_s / limit_tokens_per_s for round_ in rounds])
    found["R8_pad_fraction"] = peer_figures(subject, rounds, jobs).get("pad_fraction")
    found["R10_deviation"] = {
        other: deviation(rounds[-1][subject], run)
        for other, run in rounds[-1].items()
        if other != subject and run.losses
    }
    return found


def deviation(one: Run, other: Run) -> dict[str, float]:
    """Largest relative difference of any job's first and last loss."""

    def largest(step: int) -> float:
        pairs = [(losses[step], other.losses[job][step]) for job, losses in one.losses.items()]
        return max(abs(a - b) / abs(b) for a, b in pairs)

    return {"first_step": largest(0), "last_step": largest(-1)}


def multiplied_weights(model: nn.Module) -> int:
    """P of the limit 4 P tokens: the weights of every linear, the output head included, the embedding table not."""
    linears = (module for module in model.modules() if isinstance(module, nn.Linear | bitsandbytes.nn.Linear4bit))
    named = {id(linear): linear.in_features * linear.out_features for linear in linears}
    return sum(named.values())


def _faster(subject: str, other: str, rounds: Sequence[Round], seconds: Seconds) -> dict[str, float]:
    return spread([seconds(round_[other]) / seconds(round_[subject]) for round_ in rounds])

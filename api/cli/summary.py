"""What a person wants to know of a job that is over: a few lines, where `orchard show` has them all. Pure."""

from dataclasses import dataclass
from datetime import timedelta

from api.cli.advice import advice_for
from api.cli.models import Job


@dataclass(frozen=True)
class Losses:
    """The training loss of the first and of the last step; None where no step was seen."""

    first: float | None = None
    last: float | None = None


def summary(job: Job, losses: Losses) -> dict[str, str]:
    """Labels and values, in the order they are shown; what is not known is left out."""
    name = job.user_provided_suffix
    lines = {
        "job": f"{name} ({job.id})" if name else job.id,
        "result": job.status,
        **_reason(job),
        "training loss": _change(losses.first, losses.last),
        "validation loss": _change(job.x_orchard.eval_loss_before, job.x_orchard.eval_loss_after),
        "steps": _steps(job),
        "time": _duration(job.finished_at - job.created_at) + " since submission" if job.finished_at else None,
        "trained tokens": f"{job.trained_tokens:,}" if job.trained_tokens else None,
        "model": job.fine_tuned_model,
        "page": job.x_orchard.registry.url if job.x_orchard.registry else None,
        "next": next_command(job),
    }
    return {label: value for label, value in lines.items() if value}


def next_command(job: Job) -> str:
    """What to do now."""
    if job.status == "succeeded":
        return f"orchard download {job.id} {job.user_provided_suffix or job.id}-adapter"
    if job.error is not None:
        return advice_for(job.error.code).todo.format(job=job.id)
    return f"orchard logs {job.id}"


def _reason(job: Job) -> dict[str, str]:
    if job.error is None:
        return {}
    where = f", field {job.error.param}" if job.error.param else ""
    return {
        "reason": " ".join(job.error.message.split()),
        "code": f"{job.error.code}{where}",
        "whose fault": advice_for(job.error.code).party,
    }


def _change(first: float | None, last: float | None) -> str | None:
    """`2.3412 → 0.4123`; None when neither was measured."""
    if first is None and last is None:
        return None
    return " → ".join("not measured" if value is None else f"{value:.4f}" for value in (first, last))


def _steps(job: Job) -> str | None:
    progress = job.x_orchard
    if progress.step is None:
        return None
    of = f" of {progress.total_steps}" if progress.total_steps and progress.total_steps != progress.step else ""
    early = "; stopped early" if progress.stopped_early else ""
    best = f"; the model has the weights of step {progress.best_step}" if progress.best_step is not None else ""
    return f"{progress.step}{of}{early}{best}"


def _duration(seconds: float) -> str:
    """`1:02:03`, or `42 s` below a minute."""
    return f"{seconds:.0f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))

"""A seat's progress reports."""

from typing import Any

from workers.contract.reports import StepReport
from workers.engine.attempt import Attempt
from workers.engine.seat import Seat
from workers.engine.stepper import StepResult


def step_report(attempt: Attempt, seat: Seat, result: StepResult | None) -> StepReport:
    """The seat's step with `result`, and the evaluation of the same weights if there was one.

    No result: only the evaluation, as before the first step.
    """
    return attempt.report(
        StepReport,
        step=seat.step,
        total_steps=seat.total_steps,
        epoch=seat.plan.epoch_after(seat.step),
        full_valid_loss=seat.eval_loss if seat.evaluated else None,
        full_valid_mean_token_accuracy=seat.eval_accuracy if seat.evaluated else None,
        **({} if result is None else _measured(result)),
    )


def _measured(result: StepResult) -> dict[str, Any]:
    return {
        "train_loss": result.loss,
        "train_mean_token_accuracy": result.accuracy,
        "learning_rate": result.learning_rate,
        "grad_norm": result.grad_norm,
        "tokens": result.tokens,
        "supervised_tokens": result.supervised_tokens,
        "step_seconds": result.seconds,
    }

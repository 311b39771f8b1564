"""AdamW (arXiv 1711.05101) of one job, and the update that both steppers share: clip, set the rate, step."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from workers.contract.spec import TrainingSpec
from workers.engine.guards import require_finite
from workers.methods import WeightRule


def make_adamw(weights: Mapping[WeightRule, Sequence[nn.Parameter]], training: TrainingSpec) -> torch.optim.AdamW:
    """The job's optimizer. Fused: one pass over weights, gradients and moments instead of a dozen."""
    groups = [
        {
            "params": list(parameters),
            "weight_decay": training.weight_decay if rule.decays else 0.0,
            "lr": training.learning_rate * rule.rate,
            "rate": rule.rate,
        }
        for rule, parameters in weights.items()
    ]
    return torch.optim.AdamW(
        groups,
        lr=training.learning_rate,
        betas=(training.beta1, training.beta2),
        eps=training.epsilon,
        weight_decay=training.weight_decay,
        fused=True,
    )


def update(optimizer: torch.optim.AdamW, training: TrainingSpec, rate: float, step: int, lines: Sequence[int]) -> float:
    """Clip to the job's own norm and take update number `step` at `rate`. Returns the norm before clipping.

    Raises NonFiniteLoss naming `lines`, the rows behind the gradient, before any weight changes.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    norm = float(nn.utils.clip_grad_norm_(weights, training.max_grad_norm or float("inf")))
    require_finite(norm, f"the gradient of step {step}", lines)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate"]
    optimizer.step()
    return norm

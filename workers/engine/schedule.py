"""The learning rate of a step: linear warm-up, then constant, or linear or cosine decay to zero."""

import math

from workers.contract.spec import LrSchedule, TrainingSpec


def learning_rate(training: TrainingSpec, step: int, total_steps: int) -> float:
    """Learning rate of the step after `step` finished ones. Warm-up starts above zero, so no step is wasted."""
    warmup = math.ceil(training.warmup_ratio * total_steps)
    if step < warmup:
        return training.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(total_steps - warmup, 1)
    match training.lr_schedule:
        case LrSchedule.CONSTANT:
            return training.learning_rate
        case LrSchedule.LINEAR:
            return training.learning_rate * (1 - progress)
        case LrSchedule.COSINE:
            return training.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))

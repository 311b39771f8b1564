"""Early stopping: when the validation loss no longer improves, and which weights to keep."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from workers.checkpoints import Snapshot
from workers.contract.spec import TrainingSpec
from workers.engine.adapter import Adapter, copied


@dataclass(frozen=True)
class BestWeights:
    """An adapter's weights after `step` steps, and their score on the whole validation file, if there is one."""

    step: int
    eval_loss: float | None
    eval_accuracy: float | None
    weights: Mapping[str, Tensor] = field(repr=False)


@dataclass
class EarlyStopping:
    """Counts evaluations without improvement as transformers' `EarlyStoppingCallback` does.

    The weights with the lowest loss are kept. Only a loss lower by more than `threshold` resets the count. The
    evaluation before training does not count: an untrained adapter is not published.
    """

    patience: int
    threshold: float
    best: BestWeights | None = None
    stale: int = 0

    @classmethod
    def of(cls, training: TrainingSpec) -> "EarlyStopping | None":
        """Early stopping as the job configures it; None: train to the end."""
        if training.early_stopping_patience is None:
            return None
        return cls(training.early_stopping_patience, training.early_stopping_threshold)

    @property
    def exhausted(self) -> bool:
        """Whether `patience` evaluations in a row brought no improvement."""
        return self.stale >= self.patience

    def judge(self, step: int, loss: float, accuracy: float, adapter: Adapter) -> None:
        """Record the evaluation after `step`. The best adapter so far is copied to host memory."""
        lowest = self.best.eval_loss if self.best is not None else None
        self.stale = 0 if lowest is None or loss < lowest - self.threshold else self.stale + 1
        if lowest is None or loss < lowest:
            self.best = BestWeights(step, loss, accuracy, copied(adapter.weights()))

    def state(self) -> dict[str, Any]:
        """The fields of a `Snapshot` that continue the count. The best weights never change, so they are not copied."""
        if self.best is None:
            return {"stale_evaluations": self.stale}
        return {
            "stale_evaluations": self.stale,
            "best_step": self.best.step,
            "best_eval_loss": self.best.eval_loss,
            "best_eval_accuracy": self.best.eval_accuracy,
            "best_weights": self.best.weights,
        }

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from `snapshot`."""
        self.stale = snapshot.stale_evaluations
        if snapshot.best_step is not None:
            self.best = BestWeights(
                snapshot.best_step, snapshot.best_eval_loss, snapshot.best_eval_accuracy, snapshot.best_weights
            )

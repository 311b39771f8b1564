"""Early stopping: when to give up hoping for a lower validation loss, and which weights to keep."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from workers.checkpoints import Snapshot
from workers.contract.spec import TrainingSpec
from workers.engine.adapter import Adapter, copied


@dataclass(frozen=True)
class BestWeights:
    """An adapter's weights after `step` steps, and how they did on the whole validation file, if there is one."""

    step: int
    eval_loss: float | None
    eval_accuracy: float | None
    weights: Mapping[str, Tensor] = field(repr=False)


@dataclass
class EarlyStopping:
    """Counts evaluations without improvement as transformers' `EarlyStoppingCallback` does.

    The lowest loss is kept whatever its margin; only one lower by more than `threshold` restores patience. The
    evaluation before training does not count: an untouched adapter is nothing to publish.
    """

    patience: int
    threshold: float
    best: BestWeights | None = None
    stale: int = 0

    @classmethod
    def of(cls, training: TrainingSpec) -> "EarlyStopping | None":
        """What the job asked for; None: to train to the end."""
        if training.early_stopping_patience is None:
            return None
        return cls(training.early_stopping_patience, training.early_stopping_threshold)

    @property
    def exhausted(self) -> bool:
        """Whether patience is used up."""
        return self.stale >= self.patience

    def judge(self, step: int, loss: float, accuracy: float, adapter: Adapter) -> None:
        """Enter the evaluation after `step`; the adapter is copied to host memory when it is the best yet."""
        lowest = self.best.eval_loss if self.best is not None else None
        self.stale = 0 if lowest is None or loss < lowest - self.threshold else self.stale + 1
        if lowest is None or loss < lowest:
            self.best = BestWeights(step, loss, accuracy, copied(adapter.weights()))

    def state(self) -> dict[str, Any]:
        """The fields of a `Snapshot` that continue the count. The kept weights never change and are not copied."""
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
        """Continue where `snapshot` was taken."""
        self.stale = snapshot.stale_evaluations
        if snapshot.best_step is not None:
            self.best = BestWeights(
                snapshot.best_step, snapshot.best_eval_loss, snapshot.best_eval_accuracy, snapshot.best_weights
            )

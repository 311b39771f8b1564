"""A seat: everything that belongs to one attempt while it trains, but for the tensors, which its stepper keeps."""

from collections.abc import Sequence
from dataclasses import dataclass

from workers.checkpoints import Snapshot
from workers.contract.spec import JobSpec, SeatOrder
from workers.data.batches import BatchPlan
from workers.data.encode import EncodedRow
from workers.engine.adapter import Adapter
from workers.engine.schedule import learning_rate


@dataclass
class Seat:
    """Adapter and cursor of one attempt. `step` counts finished optimizer steps and *is* the data cursor."""

    order: SeatOrder
    adapter: Adapter
    plan: BatchPlan
    validation: Sequence[EncodedRow]
    step: int = 0
    trained_tokens: int = 0
    train_loss: float | None = None
    eval_loss_before: float | None = None
    eval_step: int | None = None
    eval_loss: float | None = None
    eval_accuracy: float | None = None
    saved_step: int | None = None

    @property
    def spec(self) -> JobSpec:
        """The job."""
        return self.order.spec

    @property
    def total_steps(self) -> int:
        """Steps after which the seat is done."""
        return self.plan.total_steps

    @property
    def finished(self) -> bool:
        """Whether every step is done."""
        return self.step >= self.total_steps

    @property
    def next_learning_rate(self) -> float:
        """Rate of the step to come."""
        return learning_rate(self.spec.training, self.step, self.total_steps)

    def snapshot(self) -> Snapshot:
        """All that an exact resume needs. Tensors are copied, so training may go on."""
        return Snapshot(
            step=self.step,
            epoch=self.plan.epoch_after(self.step),
            trained_tokens=self.trained_tokens,
            train_loss=self.train_loss,
            eval_loss_before=self.eval_loss_before,
            eval_step=self.eval_step,
            eval_loss=self.eval_loss,
            eval_accuracy=self.eval_accuracy,
            weights={name: weight.detach().cpu().clone() for name, weight in self.adapter.weights().items()},
            moments={name: moment.detach().cpu().clone() for name, moment in self.adapter.moments().items()},
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Continue where `snapshot` was taken."""
        self.adapter.load(snapshot.weights, snapshot.moments, snapshot.step)
        self.step = self.saved_step = snapshot.step
        self.trained_tokens = snapshot.trained_tokens
        self.train_loss = snapshot.train_loss
        self.eval_loss_before = snapshot.eval_loss_before
        self.eval_step = snapshot.eval_step
        self.eval_loss = snapshot.eval_loss
        self.eval_accuracy = snapshot.eval_accuracy

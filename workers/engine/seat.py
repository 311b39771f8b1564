"""A seat: the state of one attempt while it trains, except its tensors, which the stepper keeps."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from workers.checkpoints import Snapshot
from workers.contract.spec import JobSpec, SeatAssignment
from workers.data.batches import BatchPlan
from workers.data.encode import EncodedRow
from workers.engine.adapter import Adapter, copied
from workers.engine.evaluation import Score
from workers.engine.schedule import learning_rate
from workers.engine.stopping import BestWeights, EarlyStopping


@dataclass
class Seat:
    """Adapter and cursor of one attempt. `step` counts finished optimizer steps and *is* the data cursor."""

    order: SeatAssignment
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
    """Step of the last checkpoint that was submitted and not given up, or that the seat resumed from."""
    skipped_step: int = 0
    """Step of the last checkpoint that was skipped or given up. It is not due again while training continues."""
    stopping: EarlyStopping | None = field(init=False)

    def __post_init__(self) -> None:
        self.stopping = EarlyStopping.of(self.spec.training)

    @property
    def spec(self) -> JobSpec:
        """The job."""
        return self.order.spec

    @property
    def total_steps(self) -> int:
        """Steps of the whole job, unless it stops early."""
        return self.plan.total_steps

    @property
    def stopped_early(self) -> bool:
        """Whether early stopping ended training before the last step."""
        return self.stopping is not None and self.stopping.exhausted and self.step < self.total_steps

    @property
    def finished(self) -> bool:
        """Whether no steps remain."""
        return self.step >= self.total_steps or self.stopped_early

    @property
    def evaluated(self) -> bool:
        """Whether `eval_loss` belongs to the current weights."""
        return self.eval_step == self.step

    @property
    def evaluation_due(self) -> bool:
        """Whether an evaluation is due: before the first step, at the interval, at the end; at most once per step."""
        if not self.validation or self.evaluated:
            return False
        return self.finished or self.step % self.spec.training.eval_interval_steps == 0

    @property
    def checkpoint_due(self) -> bool:
        """Whether a checkpoint is due: at the interval and at the end; at most once per step."""
        if self.step in {0, self.saved_step, self.skipped_step}:
            return False
        return self.finished or self.step % self.spec.training.checkpoint_interval_steps == 0

    def skip_checkpoint(self, step: int) -> None:
        """Record that `step` has no checkpoint: training continues without it."""
        self.skipped_step = max(self.skipped_step, step)
        if self.saved_step == step:
            self.saved_step = None

    @property
    def next_learning_rate(self) -> float:
        """Learning rate of the next step."""
        return learning_rate(self.spec.training, self.step, self.total_steps)

    def take(self, score: Score) -> None:
        """Record the evaluation of the current weights."""
        self.eval_step, self.eval_loss, self.eval_accuracy = self.step, score.loss, score.accuracy
        if self.step == 0:
            self.eval_loss_before = score.loss
        elif self.stopping is not None:
            self.stopping.judge(self.step, score.loss, score.accuracy, self.adapter)

    def result(self) -> BestWeights:
        """The weights to publish: with early stopping the best, else the last."""
        if self.stopping is not None and self.stopping.best is not None:
            return self.stopping.best
        return BestWeights(self.step, self.eval_loss, self.eval_accuracy, copied(self.adapter.weights()))

    def snapshot(self) -> Snapshot:
        """Everything an exact resume needs. Tensors are copied, so training may continue."""
        return Snapshot(
            step=self.step,
            epoch=self.plan.epoch_after(self.step),
            batch=self.step % self.plan.steps_per_epoch,
            trained_tokens=self.trained_tokens,
            train_loss=self.train_loss,
            eval_loss_before=self.eval_loss_before,
            eval_step=self.eval_step,
            eval_loss=self.eval_loss,
            eval_accuracy=self.eval_accuracy,
            weights=copied(self.adapter.weights()),
            moments=copied(self.adapter.moments()),
            **({} if self.stopping is None else self.stopping.state()),
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from `snapshot`."""
        self.adapter.load(snapshot.weights, snapshot.moments, snapshot.step)
        self.step = self.saved_step = snapshot.step
        self.trained_tokens = snapshot.trained_tokens
        self.train_loss = snapshot.train_loss
        self.eval_loss_before = snapshot.eval_loss_before
        self.eval_step = snapshot.eval_step
        self.eval_loss = snapshot.eval_loss
        self.eval_accuracy = snapshot.eval_accuracy
        if self.stopping is not None:
            self.stopping.restore(snapshot)

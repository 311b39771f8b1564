"""A seat: everything that belongs to one attempt while it trains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from workers.checkpoints import Snapshot
from workers.contract.errors import NoGradient, NonFiniteLoss
from workers.contract.spec import JobSpec, SeatOrder
from workers.data.batches import BatchPlan
from workers.data.encode import EncodedRow
from workers.engine.schedule import learning_rate

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Adapter:
    """Trainable weights by the names PEFT stores them under: `….q_proj.lora_A.weight` [r, in], `lora_B` [out, r]."""

    name: str
    weights: Mapping[str, nn.Parameter]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The weights, in the order of their names."""
        return [self.weights[name] for name in sorted(self.weights)]


@dataclass
class Seat:
    """Adapter, optimizer and cursor of one attempt. `step` counts finished optimizer steps and *is* the data cursor."""

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
    gradients_seen: bool = False
    optimizer: torch.optim.AdamW = field(init=False)

    def __post_init__(self) -> None:
        training = self.spec.training
        self.optimizer = torch.optim.AdamW(
            self.adapter.parameters,
            lr=training.learning_rate,
            betas=(training.beta1, training.beta2),
            eps=training.epsilon,
            weight_decay=training.weight_decay,
            fused=True,
        )

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

    def check_gradients(self) -> None:
        """On the first step: every trainable tensor has a gradient. Raises NoGradient."""
        if not self.gradients_seen:
            missing = [name for name, weight in self.adapter.weights.items() if weight.grad is None]
            if missing:
                raise NoGradient(f"{len(missing)} of {len(self.adapter.weights)} tensors got none, first {missing[0]}")
            self.gradients_seen = True

    def apply_gradients(self) -> float:
        """Clip by the seat's own norm and take the AdamW step. Returns the norm before clipping.

        Raises NonFiniteLoss, before any weight is touched, when the norm is not finite.
        """
        parameters = self.adapter.parameters
        bound = self.spec.training.max_grad_norm or float("inf")
        norm = float(nn.utils.clip_grad_norm_(parameters, bound))
        if not torch.isfinite(torch.tensor(norm)):
            raise NonFiniteLoss(f"the gradient of step {self.step + 1} is {norm}; lower the learning rate")
        for group in self.optimizer.param_groups:
            group["lr"] = self.next_learning_rate
        self.optimizer.step()
        return norm

    def clear_gradients(self) -> None:
        """Forget gradients, and free them."""
        self.optimizer.zero_grad(set_to_none=True)

    def snapshot(self) -> Snapshot:
        """All that an exact resume needs. Tensors are copied, so training may go on."""
        moments: dict[str, Tensor] = {}
        for name in sorted(self.adapter.weights):
            state = self.optimizer.state.get(self.adapter.weights[name], {})
            moments |= {f"{name}:{moment}": state[moment].detach().cpu().clone() for moment in MOMENTS if state}
        return Snapshot(
            step=self.step,
            epoch=self.plan.epoch_after(self.step),
            trained_tokens=self.trained_tokens,
            train_loss=self.train_loss,
            eval_loss_before=self.eval_loss_before,
            eval_step=self.eval_step,
            eval_loss=self.eval_loss,
            eval_accuracy=self.eval_accuracy,
            weights={name: weight.detach().cpu().clone() for name, weight in self.adapter.weights.items()},
            moments=moments,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Continue where `snapshot` was taken."""
        with torch.no_grad():
            for name, weight in self.adapter.weights.items():
                weight.copy_(snapshot.weights[name])
        state = {
            index: {moment: snapshot.moments[f"{name}:{moment}"] for moment in MOMENTS}
            for index, name in enumerate(sorted(self.adapter.weights))
            if snapshot.moments
        }
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.step = self.saved_step = snapshot.step
        self.trained_tokens = snapshot.trained_tokens
        self.train_loss = snapshot.train_loss
        self.eval_loss_before = snapshot.eval_loss_before
        self.eval_step = snapshot.eval_step
        self.eval_loss = snapshot.eval_loss
        self.eval_accuracy = snapshot.eval_accuracy

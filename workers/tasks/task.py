"""What the engine and the lanes ask of a task, and the registry of tasks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from torch import Tensor

from workers.contract.base import BaseSpec
from workers.contract.spec import TextOptions
from workers.contract.tasks import TaskSpec
from workers.data.batches import MicroBatch
from workers.data.encode import EncodedRow
from workers.data.tokens import RowEncoder


@dataclass(frozen=True)
class Scores:
    """One entry for each of the N supervised units of a micro-batch, row by row."""

    nll: Tensor
    """[N] fp32, nats; carries the gradient."""
    correct: Tensor
    """[N] bool: whether nothing was thought likelier."""
    weights: Tensor
    """[N] fp32, above 0: what each counts for in loss and accuracy."""

    def shares(self, total_weight: float | Tensor) -> Tensor:
        """[N] fp32: what each adds to a mean over units that weigh `total_weight` (or [N] fp64) together.

        Divided in fp64, so that weights too small for 1 / `total_weight` in fp32 have shares too.
        """
        return (self.weights.double() / total_weight).float()


class Scorable(Protocol):
    """A batch that a base can score."""

    @property
    def input_ids(self) -> Tensor:
        """[B, T] int64."""

    @property
    def loss_weights(self) -> Tensor:
        """[B, T] fp32: what predicting this token, from the position before it, counts for; 0: it is not scored."""

    def inputs(self) -> Mapping[str, Any]:
        """What the model's decoder is called with."""


class Loss(Protocol):
    """The loss of a task on one base."""

    def score(self, batch: Scorable) -> Scores:
        """Forward pass and loss of a micro-batch, by whatever adapters act in the base."""


class TrainableTask(Protocol):
    """One task. Its functions keep no state."""

    def auto_class(self) -> Any:
        """The class of transformers that loads a base for it."""

    def unfit(self, model: Any) -> str | None:
        """Why a loaded model cannot learn the task, in a few words; None: it can."""

    def encoder(self, tokenizer: Any, template: str | None, options: TextOptions) -> RowEncoder:
        """What encodes the rows of a job's files, one after the other."""

    def collate(self, rows: Sequence[EncodedRow], pad_id: int) -> MicroBatch:
        """Rows of one forward pass, padded to the longest."""

    def loss(self, model: Any) -> Loss:
        """The loss on a loaded base; what it finds out about the base it finds out once."""

    def export(self, tokenizer: Any, base: BaseSpec, folder: Path) -> str | None:
        """Write what a user needs beside the adapter; returns the chat template the rows were rendered with."""


class TaskRegistry:
    """Tasks by the `type` of their spec."""

    def __init__(self) -> None:
        self._members: dict[str, TrainableTask] = {}

    def register(self, spec: type[TaskSpec]) -> Callable[[type[TrainableTask]], type[TrainableTask]]:
        """A decorator: the class trains what `spec` describes."""

        def add(task: type[TrainableTask]) -> type[TrainableTask]:
            self._members[spec.model_fields["type"].default] = task()
            return task

        return add

    def of(self, spec: TaskSpec) -> TrainableTask:
        """The task that `spec` describes."""
        return self._members[spec.type]

    def names(self) -> set[str]:
        """Every `type` there is."""
        return set(self._members)


TASKS: Final = TaskRegistry()

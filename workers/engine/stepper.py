"""The one interface behind which training happens."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from workers.contract.errors import WorkerError
from workers.contract.memory import Footprint
from workers.contract.spec import JobSpec
from workers.engine.adapter import Adapter
from workers.engine.evaluation import Scored
from workers.engine.seat import Seat

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step of one seat did. Losses are nats per supervised token."""

    loss: float
    accuracy: float
    grad_norm: float
    learning_rate: float
    tokens: int
    supervised_tokens: int
    seconds: float


@dataclass(frozen=True)
class Stepped:
    """One seat and how its step ended: a result, or the error that ends this seat and no other."""

    seat: Seat
    result: StepResult | WorkerError

    @classmethod
    def failed(cls, seat: Seat, error: Exception) -> "Stepped":
        """The end of a seat whose step raised `error`. What was not foreseen is told by its type alone, and logged."""
        if isinstance(error, WorkerError):
            return cls(seat, error)
        log.error("step %s of job %s failed", seat.step + 1, seat.spec.job_id, exc_info=error)
        return cls(seat, WorkerError(f"unexpected {type(error).__name__} in step {seat.step + 1}"))


class Stepper(Protocol):
    """Holds adapters on the resident base and trains them."""

    @property
    def footprint(self) -> Footprint | None:
        """What base and passes take here, if that was measured."""

    @property
    def budget_tokens(self) -> int | None:
        """Positions that share a pass at most, as things stand; None where none is shared."""

    def open(self, spec: JobSpec) -> Adapter:
        """A fresh adapter, initialised from the job's seed alone. Raises InvalidTargetModules."""

    def close(self, adapter: Adapter) -> None:
        """Forget the adapter and free its memory."""

    def step(self, due: Sequence[Seat]) -> list[Stepped]:
        """Work for some of the seats that are due, at least one, and return those that finished an optimizer step.

        A seat that needs several micro-batches for a step may take several calls for it. One that succeeds has `step`,
        `trained_tokens` and `train_loss` moved on; one that fails is left as it was before the step.
        """

    def evaluate(self, seat: Seat) -> Iterator[Scored]:
        """Score the seat's validation rows with its adapter as it stands, one forward pass at a time, as it is drawn.

        Other seats may step in between, this one may not. Drawing raises OutOfMemory.
        """

"""`Stepper`: the one training interface, which each lane implements."""

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
    """The result of one optimizer step of one seat. Loss (nats) and accuracy are means by the tokens' weights."""

    loss: float
    accuracy: float
    grad_norm: float
    learning_rate: float
    tokens: int
    supervised_tokens: int
    seconds: float


@dataclass(frozen=True)
class Stepped:
    """One seat and how its step ended: a result, or an error that ends only this seat."""

    seat: Seat
    result: StepResult | WorkerError

    @classmethod
    def failed(cls, seat: Seat, error: Exception) -> "Stepped":
        """The end of a seat whose step raised `error`. An unexpected error is logged and reported by its type only."""
        if isinstance(error, WorkerError):
            return cls(seat, error)
        log.error("step %s of job %s failed", seat.step + 1, seat.spec.job_id, exc_info=error)
        return cls(seat, WorkerError(f"unexpected {type(error).__name__} in step {seat.step + 1}"))


class Stepper(Protocol):
    """Holds adapters on the resident base and trains them."""

    @property
    def footprint(self) -> Footprint | None:
        """The measured memory of the base and its passes, if it was measured."""

    @property
    def budget_tokens(self) -> int | None:
        """Most tokens that share a pass now; None where seats share none."""

    def open(self, spec: JobSpec) -> Adapter:
        """A new adapter, initialized from the job's seed only. Raises InvalidTargetModules."""

    def close(self, adapter: Adapter) -> None:
        """Remove the adapter and free its memory."""

    def step(self, due: Sequence[Seat]) -> list[Stepped]:
        """Run at least one of the due seats and return those that finished an optimizer step.

        A step of several micro-batches may take several calls. On success it updates the seat's `step`,
        `trained_tokens` and `train_loss`. On failure the seat stays as it was before the step.
        """

    def evaluate(self, seat: Seat) -> Iterator[Scored]:
        """Score the seat's validation rows with its current adapter: one forward pass per item of the iterator.

        Other seats may step between two items; this one must not. The iterator raises OutOfMemory.
        """

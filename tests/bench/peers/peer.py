"""What every peer offers, and what it reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import torch
from torch import nn

from tests.bench.workloads import Job
from workers.bases import LoadedBase

TRAINING: Final = "training steps"
"""The profiler's name for the part of a run that counts; only this part is profiled."""


@dataclass(frozen=True)
class Run:
    """All jobs trained once, from fresh adapters to their last step."""

    attach_s: float
    """Making adapters and optimizers, and taking them away again."""
    train_s: float
    """Wall time of the training steps."""
    slots: int
    """Token positions that went through the base, pads included; 0: not seen."""
    losses: Mapping[str, Sequence[float]]
    """Loss of each step, by job."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What a reader must know about how the figures came about."""
    cpu_s: float = 0.0
    """Processor time of the whole run in this process: on a shared machine it moves less than the wall does."""

    @property
    def makespan_s(self) -> float:
        """From the first job's arrival to the last one's end, with the base resident."""
        return self.attach_s + self.train_s


class Peer(Protocol):
    """Trains jobs on its own resident copy of the base."""

    base: LoadedBase | None
    """None: the peer loads a base for each job."""

    def run(self, jobs: Sequence[Job]) -> Run:
        """Train every job, from scratch."""


class SlotCounter:
    """Counts the token positions that enter a model."""

    def __init__(self, model: nn.Module) -> None:
        self.slots = 0
        model.get_input_embeddings().register_forward_pre_hook(self._count)  # type: ignore[operator]

    def _count(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.slots += inputs[0].numel()

    def take(self) -> int:
        """The count since the last call."""
        slots, self.slots = self.slots, 0
        return slots

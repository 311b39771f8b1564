"""A seat's accumulation window: the micro-batches of one optimizer step, and what they have added up to."""

from dataclasses import dataclass, field

from workers.contract.spec import JobSpec
from workers.data.batches import MicroBatch
from workers.engine.dropout import DropoutKey
from workers.engine.fused.routing import Pick
from workers.engine.fused.stack import StackedAdapter
from workers.engine.lora import scale_of
from workers.engine.seat import Seat


@dataclass
class Window:
    """Sums over the micro-batches done; `supervised` counts those of the whole window, and normalises every loss."""

    seat: Seat
    adapter: StackedAdapter
    batches: list[MicroBatch] = field(default_factory=list)
    done: int = 0
    nll: float = 0.0
    correct: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.batches = self.seat.plan.micro_batches(self.seat.step)
        self.supervised = sum(batch.supervised for batch in self.batches)
        self.tokens = sum(batch.tokens for batch in self.batches)
        self.adapter.clear_gradients()

    @property
    def next_batch(self) -> MicroBatch:
        """The micro-batch to do next."""
        return self.batches[self.done]

    @property
    def full(self) -> bool:
        """Whether the step can be taken."""
        return self.done == len(self.batches)

    def pick(self) -> Pick:
        """The next micro-batch as a part of a fused pass."""
        method = self.seat.spec.method
        key = DropoutKey(self.seat.spec.seed, self.seat.step, self.done, method.dropout) if method.dropout else None
        return Pick(self.adapter, self.next_batch, scale_of(method), key)

    def add(self, nll: float, correct: int, seconds: float) -> None:
        """Enter the sums of the micro-batch that was just done."""
        self.nll += nll
        self.correct += correct
        self.seconds += seconds
        self.done += 1


def evaluation_pick(adapter: StackedAdapter, batch: MicroBatch, spec: JobSpec) -> Pick:
    """A batch of validation rows as a pass of its own, without dropout."""
    return Pick(adapter, batch, scale_of(spec.method))

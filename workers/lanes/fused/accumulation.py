"""A seat's accumulation window: the micro-batches of one optimizer step and their sums so far."""

from dataclasses import dataclass, field

from workers.data.batches import MicroBatch
from workers.engine.seat import Seat
from workers.lanes.fused.routing import SeatBatch
from workers.lanes.fused.stack import StackedAdapter
from workers.rng import DropoutKey


@dataclass
class AccumulationWindow:
    """Sums over the finished micro-batches: `nll` and `correct` by the tokens' weights.

    `total_weight` is the sum of the whole window's weights and normalizes the loss of each micro-batch.
    """

    seat: Seat
    adapter: StackedAdapter
    batches: list[MicroBatch] = field(default_factory=list)
    done: int = 0
    nll: float = 0.0
    correct: float = 0.0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.batches = self.seat.plan.micro_batches(self.seat.step)
        self.total_weight = sum(batch.total_weight for batch in self.batches)
        self.supervised = sum(batch.supervised for batch in self.batches)
        self.tokens = sum(batch.tokens for batch in self.batches)
        self.adapter.clear_gradients()

    @property
    def next_batch(self) -> MicroBatch:
        """The next micro-batch."""
        return self.batches[self.done]

    @property
    def full(self) -> bool:
        """Whether every micro-batch is done, so the optimizer can step."""
        return self.done == len(self.batches)

    def seat_batch(self) -> SeatBatch:
        """The next micro-batch as a part of a fused pass."""
        dropout = self.adapter.form.dropout
        key = DropoutKey(self.seat.spec.seed, self.seat.step, self.done) if dropout else None
        return SeatBatch(self.adapter, self.next_batch, key)

    def add(self, nll: float, correct: float, seconds: float) -> None:
        """Add the sums of the micro-batch that just finished."""
        self.nll += nll
        self.correct += correct
        self.seconds += seconds
        self.done += 1

"""The memory budget of a host: what its current seats hold, and what is left for passes."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from workers.contract.memory import SNAPSHOT_BYTES, Footprint
from workers.lanes.fused.budget import UNBOUNDED, Budget, choose_budget
from workers.lanes.fused.knee import SMALLEST
from workers.lanes.fused.stack import Stack, StackedAdapter

ROW_BYTES: Final = 8  # per trained weight: the row of a stack that holds it, and its gradient
MOMENT_BYTES: Final = 8  # per trained weight


@dataclass(frozen=True)
class _Overrun:
    """The limits on passes after one ran out of memory, in force while one of its seats remains."""

    seats: frozenset[str]
    shared_at_most: int
    kept_at_most: int


class MemoryBudget:
    """Keeps the budget up to date with the seats. No model predicts memory exactly: a pass that runs out lowers the
    budget for as long as one of its seats remains.
    """

    def __init__(self, knee: int, footprint: Footprint, limit: int | None, *, kept_at_most: int = UNBOUNDED) -> None:
        """`limit`: bytes available to the whole host; None: no known limit."""
        self._footprint = footprint
        self._limit = limit
        self._knee = knee
        self._kept_at_most = kept_at_most
        self._overruns: set[_Overrun] = set()
        self._held = 0
        self.budget = self._choose()

    def hold(self, adapters: Iterable[StackedAdapter]) -> None:
        """Set the current seats."""
        seated = list(adapters)
        names = {adapter.name for adapter in seated}
        self._overruns = {overrun for overrun in self._overruns if overrun.seats & names}
        self._held = held_bytes(seated)
        self.budget = self._choose()

    def overrun(self, tokens: int, seats: Collection[str]) -> None:
        """A pass of `tokens` of these seats did not fit. Later passes have at most half as many tokens, and
        keep the activations of at most half as many. A micro-batch above the shared limit lowers only the second limit.
        """
        shared, half = self.budget.tokens, tokens // 2
        if tokens > shared:
            self._overruns.add(_Overrun(frozenset(seats), UNBOUNDED, max(half, shared)))
        else:
            self._overruns.add(_Overrun(frozenset(seats), max(half, SMALLEST), half))
        self.budget = self._choose()

    def _choose(self) -> Budget:
        left = None if self._limit is None else max(self._limit - self._footprint.resident_bytes - self._held, 0)
        shared_at_most = min([self._knee, *(overrun.shared_at_most for overrun in self._overruns)])
        kept_at_most = min([self._kept_at_most, *(overrun.kept_at_most for overrun in self._overruns)])
        chosen = choose_budget(shared_at_most, left, self._footprint)
        return Budget(chosen.tokens, min(chosen.kept, kept_at_most))


def held_bytes(adapters: list[StackedAdapter]) -> int:
    """Bytes that seats hold between passes."""
    stacks = {id(adapter.stack): adapter.stack for adapter in adapters}.values()
    own = sum(adapter.row.numel() * (MOMENT_BYTES + SNAPSHOT_BYTES * adapter.row.is_cpu) for adapter in adapters)
    return sum(stack_bytes(stack) for stack in stacks) + own


def stack_bytes(stack: Stack) -> int:
    """Bytes of a stack's rows: on a CPU only those in use, on CUDA all."""
    return ROW_BYTES * stack.layout.size * (stack.used if stack.weights.is_cpu else stack.capacity)

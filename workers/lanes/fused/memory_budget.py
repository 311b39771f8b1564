"""The memory of a host while seats come and go: what they hold, and what is left for passes."""

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
    """What passes may take at most while one of the seats is there whose pass did not fit."""

    seats: frozenset[str]
    shared_at_most: int
    kept_at_most: int


class MemoryBudget:
    """Keeps the budget in step with the seats. Running out of memory, which no model foresees wholly, lowers it for as
    long as one of those is seated whose pass ran out.
    """

    def __init__(self, knee: int, footprint: Footprint, limit: int | None, *, kept_at_most: int = UNBOUNDED) -> None:
        """`limit`: bytes that all the host does must fit in; None: there is none that we know of."""
        self._footprint = footprint
        self._limit = limit
        self._knee = knee
        self._kept_at_most = kept_at_most
        self._overruns: set[_Overrun] = set()
        self._held = 0
        self.budget = self._choose()

    def hold(self, adapters: Iterable[StackedAdapter]) -> None:
        """These are the seats now."""
        seated = list(adapters)
        names = {adapter.name for adapter in seated}
        self._overruns = {overrun for overrun in self._overruns if overrun.seats & names}
        self._held = held_bytes(seated)
        self.budget = self._choose()

    def overrun(self, positions: int, seats: Collection[str]) -> None:
        """A pass of so many positions, of these seats, did not fit: the next ones are half as large and keep half as
        much at most. A micro-batch larger than what is shared tells nothing of smaller passes, which stay as they are.
        """
        shared, half = self.budget.tokens, positions // 2
        if positions > shared:
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
    """What seats hold between passes."""
    stacks = {id(adapter.stack): adapter.stack for adapter in adapters}.values()
    own = sum(adapter.row.numel() * (MOMENT_BYTES + SNAPSHOT_BYTES * adapter.row.is_cpu) for adapter in adapters)
    return sum(stack_bytes(stack) for stack in stacks) + own


def stack_bytes(stack: Stack) -> int:
    """What the rows of a stack take: on a CPU those in use, on CUDA all."""
    return ROW_BYTES * stack.layout.size * (stack.used if stack.weights.is_cpu else stack.capacity)

"""How many tokens share a pass and when a pass recomputes its activations: a pure choice from knee and memory."""

from dataclasses import dataclass
from typing import Final

from workers.contract.memory import Footprint

USEFUL_SHARE: Final = 0.1
"""Of the knee. A pass this small spends a third of its time on fixed costs (see `knee`). Recomputing allows a larger
pass but costs as much: half of forward and backward again."""
UNBOUNDED: Final = 1 << 40  # tokens


@dataclass(frozen=True)
class Budget:
    """Most tokens of a shared pass (`tokens`), and of a pass that keeps its activations (`kept`)."""

    tokens: int
    kept: int

    def recomputes(self, tokens: int) -> bool:
        """Whether a pass of this size recomputes the activations inside its layers (arXiv 1604.06174)."""
        return tokens > self.kept


def choose_budget(knee: int, room: int | None, footprint: Footprint) -> Budget:
    """The budget of a host with `room` bytes free for passes; None: unlimited.

    Passes keep their activations unless that would make them too small to be worth sharing. A micro-batch larger than
    the budget runs alone, and recomputes if it would not fit otherwise.
    """
    if room is None:
        return Budget(knee, UNBOUNDED)
    kept = footprint.tokens_within(room, recompute=False)
    if kept >= USEFUL_SHARE * knee:
        return Budget(min(knee, kept), kept)
    recomputed = footprint.tokens_within(room, recompute=True)
    return Budget(max(min(knee, recomputed), 1), kept)

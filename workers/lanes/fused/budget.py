"""How many positions share a pass, and when a pass recomputes its activations: a pure choice from knee and memory."""

from dataclasses import dataclass
from typing import Final

from workers.contract.memory import Footprint

USEFUL_SHARE: Final = 0.1
"""Of the knee. A pass so small spends a third of its time on what does not grow with tokens (see `knee`); making it
larger by recomputing would add as much: half of forward and backward once more."""
UNBOUNDED: Final = 1 << 40  # positions


@dataclass(frozen=True)
class Budget:
    """The positions of passes: of shared ones at most, and of those that keep their activations."""

    tokens: int
    kept: int

    def recomputes(self, positions: int) -> bool:
        """Whether a pass of that size keeps no activations inside its layers (arXiv 1604.06174)."""
        return positions > self.kept


def choose_budget(knee: int, room: int | None, footprint: Footprint) -> Budget:
    """The budget of a host with `room` bytes left for passes; None: as much as it likes.

    Passes keep their activations unless that left them too small to be worth sharing. A micro-batch that is larger
    than the budget runs alone; it recomputes when it would not fit otherwise.
    """
    if room is None:
        return Budget(knee, UNBOUNDED)
    kept = footprint.positions_within(room, recompute=False)
    if kept >= USEFUL_SHARE * knee:
        return Budget(min(knee, kept), kept)
    recomputed = footprint.positions_within(room, recompute=True)
    return Budget(max(min(knee, recomputed), 1), kept)

"""Which seats share the next pass: a pure choice from their next micro-batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MAX_PAD_SHARE: Final = 0.25  # of the tokens of a fused pass; a wider mix of lengths is split over passes


@dataclass(frozen=True)
class Candidate:
    """A seat's next micro-batch of `rows` x `width`, and the tokens served so far to the seat and its tenant."""

    rows: int
    width: int
    tokens: int
    tenant_served: float
    seat_served: float
    alone: bool = False
    """Whether it must not share a pass."""


def select_batch(candidates: Sequence[Candidate], budget_tokens: int, *, packed: bool = False) -> list[int]:
    """Indices of the candidates to run together; at least one.

    The least served seat of the least served tenant comes first, even if it exceeds the budget. Others join while they
    fit the budget: packed rows in queue order; padded rows nearest in length first, while at most `MAX_PAD_SHARE` of
    all tokens are padding.
    """
    order = sorted(range(len(candidates)), key=lambda i: (candidates[i].tenant_served, candidates[i].seat_served, i))
    head = candidates[order[0]]
    chosen = [order[0]]
    if head.alone:
        return chosen
    rows, width, tokens = head.rows, head.width, head.tokens
    by_length = sorted(order[1:], key=lambda i: abs(candidates[i].width - head.width))
    for index in order[1:] if packed else by_length:
        other = candidates[index]
        together = tokens + other.tokens
        padded = together if packed else (rows + other.rows) * max(width, other.width)
        if other.alone or padded > budget_tokens or together < (1 - MAX_PAD_SHARE) * padded:
            continue
        rows, width, tokens = rows + other.rows, max(width, other.width), tokens + other.tokens
        chosen.append(index)
    return chosen

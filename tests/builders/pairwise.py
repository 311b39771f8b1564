"""`pairwise`: few of all combinations, in which every two values of different factors still meet."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

Pair = tuple[tuple[int, Any], tuple[int, Any]]


def pairwise(*factors: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Combinations that cover all pairs, always the same ones: each is the one that covers most of what is left."""
    left = {pair for combination in itertools.product(*factors) for pair in pairs(combination)}
    chosen = []
    while left:
        best = max(itertools.product(*factors), key=lambda combination: sum(p in left for p in pairs(combination)))
        left.difference_update(pairs(best))
        chosen.append(best)
    return chosen


def pairs(combination: tuple[Any, ...]) -> Iterator[Pair]:
    """Every two values of the combination, with the numbers of their factors."""
    return itertools.combinations(enumerate(combination), 2)

"""Medians and the spread around them."""

import statistics
from collections.abc import Sequence
from typing import Final

DIGITS: Final = 4


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, quartiles and count. With fewer than three values the quartiles are the extremes."""
    ordered = sorted(values)
    low, high = (ordered[0], ordered[-1])
    if len(ordered) >= 3:
        low, _, high = statistics.quantiles(ordered, n=4, method="inclusive")
    median = statistics.median(ordered)
    return {"median": round(median, DIGITS), "q1": round(low, DIGITS), "q3": round(high, DIGITS), "n": len(ordered)}

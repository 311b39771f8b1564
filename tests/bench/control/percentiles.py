"""Latencies in few numbers."""

import statistics
from collections.abc import Sequence


def milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile, the worst, and how many there were."""
    if len(seconds) < 2:
        raise ValueError(f"{len(seconds)} measurements make no percentile; measure for longer")
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    figures = {"p50_ms": cuts[49], "p99_ms": cuts[98], "max_ms": max(seconds)}
    return {name: round(1000 * value, 3) for name, value in figures.items()} | {"n": len(seconds)}

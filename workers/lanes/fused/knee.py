"""The knee: how many tokens are worth sharing a pass, measured on the host with its base."""

import time
from collections.abc import Callable
from typing import Final

PROBES: Final = (32, 256)  # tokens of the short and the long pass
FIXED_SHARE: Final = 0.05  # share of fixed costs in the time of a pass at the knee
SMALLEST: Final = 256  # tokens
LARGEST: Final = 16_384


def measure_knee(run_pass: Callable[[int], None], repeats: int = 2) -> int:
    """Number of tokens beyond which sharing a pass gains almost nothing.

    A pass costs F + c * tokens seconds: F for reading and dequantizing weights and launching kernels, c for arithmetic.
    Two passes are timed, the best of `repeats` each, to solve for both. At the knee, F is `FIXED_SHARE` of the pass.
    `run_pass(tokens)` runs forward and backward over that many tokens.
    """
    run_pass(PROBES[0])  # the first pass allocates
    short, long = (min(_timed(run_pass, tokens) for _ in range(repeats)) for tokens in PROBES)
    per_token = max((long - short) / (PROBES[1] - PROBES[0]), 1e-9)
    fixed = max(short - per_token * PROBES[0], 0.0)
    knee = int(fixed * (1 - FIXED_SHARE) / (FIXED_SHARE * per_token))
    return min(max(knee, SMALLEST), LARGEST)


def _timed(run_pass: Callable[[int], None], tokens: int) -> float:
    started = time.perf_counter()
    run_pass(tokens)
    return time.perf_counter() - started

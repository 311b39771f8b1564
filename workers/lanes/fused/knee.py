"""How many tokens are worth sharing a pass: measured on the host, with the base it holds."""

import time
from collections.abc import Callable
from typing import Final

PROBES: Final = (32, 256)  # tokens of the short and the long pass
FIXED_SHARE: Final = 0.05  # of a pass at the knee that is still spent on what does not grow with tokens
SMALLEST: Final = 256  # tokens
LARGEST: Final = 16_384


def measure_knee(run_pass: Callable[[int], None], repeats: int = 2) -> int:
    """Tokens from which on sharing a pass gains next to nothing.

    A pass costs F + c * tokens seconds: F for reading and dequantizing weights and for launching kernels, c for
    arithmetic. Both follow from two timed passes, the better of `repeats` each; F is `FIXED_SHARE` of the pass at the
    knee. `run_pass(tokens)` runs forward and backward over that many tokens.
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

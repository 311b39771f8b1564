"""What the figures were measured on."""

import os
import time
from importlib.metadata import version
from typing import Any, Final

import torch

from tests.bench.processor import cpu_info, describe_box

GEMM: Final = 1536  # three matrices of this side leave the caches and finish in milliseconds
REPEATS: Final = 40  # a busy machine rarely gives all its cores at once
LIBRARIES: Final = ("torch", "transformers", "peft", "bitsandbytes", "trl")
TOLD_FLAGS: Final = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")


def describe_machine(threads: int) -> dict[str, Any]:
    """Processor, memory, libraries, and how busy the machine was before the run."""
    flags = set(cpu_info().get("flags", "").split())
    return {
        **describe_box(),
        "flags": [flag for flag in TOLD_FLAGS if flag in flags],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": threads,
        "gomp_spincount": os.environ.get("GOMP_SPINCOUNT"),
        "versions": {library: version(library) for library in LIBRARIES},
    }


def gemm_peak(dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product, the best of several: the roof under which training happens."""
    left, right = (torch.randn(GEMM, GEMM).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        torch.mm(left, right)
        best = min(best, time.perf_counter() - started)
    return 2 * GEMM**3 / best

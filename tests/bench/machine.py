"""What the figures were measured on."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import psutil
import torch

GEMM: Final = 1536  # three matrices of this side leave the caches and finish in milliseconds
REPEATS: Final = 40  # a busy machine rarely gives all its cores at once
LIBRARIES: Final = ("torch", "transformers", "peft", "bitsandbytes", "trl")
TOLD_FLAGS: Final = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")


def describe_machine(threads: int) -> dict[str, Any]:
    """Processor, memory, libraries, and how busy the machine was before the run."""
    cpu = _cpu_info()
    flags = set(cpu.get("flags", "").split())
    return {
        "cpu": cpu.get("model name", platform.processor()),
        "cores": os.cpu_count(),
        "flags": [flag for flag in TOLD_FLAGS if flag in flags],
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": threads,
        "gomp_spincount": os.environ.get("GOMP_SPINCOUNT"),
        "load_average_before": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
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


def _cpu_info() -> dict[str, str]:
    file = Path("/proc/cpuinfo")
    if not file.is_file():
        return {}
    first = file.read_text().split("\n\n", maxsplit=1)[0]
    pairs = (line.split(":", maxsplit=1) for line in first.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}

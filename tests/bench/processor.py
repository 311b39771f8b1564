"""The box that figures were measured on, told without loading torch."""

import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import psutil


def describe_box() -> dict[str, Any]:
    """Processor, memory, Python, and how busy it was before the run."""
    return {
        "cpu": cpu_info().get("model name", platform.processor()),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average_before": load_average(),
        "python": platform.python_version(),
    }


def load_average() -> list[float]:
    """Of the last 1, 5 and 15 minutes: above the number of cores, every figure is that of a neighbour, too."""
    return [round(load, 2) for load in os.getloadavg()]


def pace_ms() -> float:
    """What a million multiplications in Python take one thread: the core of a virtual machine may be twice as slow
    from one minute to the next, and every figure with it.
    """
    return round(statistics.median(_million() for _ in range(5)), 1)


def _million() -> float:
    began, total = time.perf_counter(), 0
    for number in range(1_000_000):
        total += number * number
    return 1000 * (time.perf_counter() - began)


def cpu_info() -> dict[str, str]:
    """The first processor's entries in /proc/cpuinfo; empty elsewhere."""
    file = Path("/proc/cpuinfo")
    if not file.is_file():
        return {}
    first = file.read_text().split("\n\n", maxsplit=1)[0]
    pairs = (line.split(":", maxsplit=1) for line in first.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}

"""The box that figures were measured on, told without loading torch."""

import os
import platform
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


def cpu_info() -> dict[str, str]:
    """The first processor's entries in /proc/cpuinfo; empty elsewhere."""
    file = Path("/proc/cpuinfo")
    if not file.is_file():
        return {}
    first = file.read_text().split("\n\n", maxsplit=1)[0]
    pairs = (line.split(":", maxsplit=1) for line in first.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}

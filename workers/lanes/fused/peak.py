"""Peak memory of a piece of work: the allocator's count on CUDA, elsewhere the process's resident set."""

import ctypes
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil
import torch

_STATUS: Final = Path("/proc/self/status")
_CLEAR: Final = Path("/proc/self/clear_refs")
RESET_PEAK: Final = "5"  # proc(5): resets the high-water mark of the resident set
INTERVAL_S: Final = 0.002


def measure_peak(work: Callable[[], None], device: torch.device) -> tuple[int, int]:
    """Run `work`. Returns the bytes held before and the bytes added at the peak."""
    if device.type == "cuda":
        return _cuda_peak(work, device)
    give_back_free_memory()
    before = psutil.Process().memory_info().rss
    try:
        _CLEAR.write_text(RESET_PEAK)
    except OSError:
        return before, max(_sampled_peak(work) - before, 0)
    work()
    return before, max(_high_water_mark() - before, 0)


def give_back_free_memory() -> None:
    """Return freed memory to the system, so that the resident set shows what is in use. Only glibc supports this."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _cuda_peak(work: Callable[[], None], device: torch.device) -> tuple[int, int]:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    torch.cuda.synchronize(device)
    return before, torch.cuda.max_memory_allocated(device) - before


def _high_water_mark() -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _sampled_peak(work: Callable[[], None]) -> int:
    process, done, peak = psutil.Process(), threading.Event(), 0

    def watch() -> None:
        nonlocal peak
        while not done.wait(INTERVAL_S):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return peak

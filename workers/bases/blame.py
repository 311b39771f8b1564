"""Whose fault it is that a base does not load: its machine's, where another try may help, or the base's own.

The messages go to tenants: no paths, and nothing that a library wrote. The host logs the cause with its traceback.
"""

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError

from workers.contract.errors import BaseUnavailable, BaseUnusable, OutOfMemory, WorkerError
from workers.contract.spec import HostSpec

OF_THE_FILES: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG}
)
"""What the system says of files that are not there or may not be read. Everything else it says is of the machine."""
MEMORY: Final = ("can't allocate memory", "cannot allocate memory", "out of memory")
DEVICE: Final = ("CUDA error", "CUDA driver", "No CUDA GPUs", "NVIDIA driver", "CUDA unknown error")


def blamed(error: BaseException, spec: HostSpec) -> WorkerError:
    """The error to report for `error`, raised while the base of `spec` was loaded or tried out."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, WorkerError):
            return cause
        if _is_memory(cause):
            return OutOfMemory(f"base {spec.base.id} did not fit into the memory of its device")
        if _is_machine(cause, spec):
            return BaseUnavailable(f"base {spec.base.id} could not be read: {_system_says(cause)}")
    return unusable(spec, _words(causes))


def unusable(spec: HostSpec, why: str) -> BaseUnusable:
    """The same for a fault that the host found out itself."""
    asked = f"{spec.task.type}, {spec.quantization.value}, {spec.compute_dtype.value}, {spec.lane.value}"
    return BaseUnusable(
        f"Base {spec.base.id} cannot be used as its catalogue entry asks ({asked}): {why}. The operator has to correct "
        "the entry or its files; the log of the host has the details."
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error) for words in MEMORY)


def _is_machine(error: BaseException, spec: HostSpec) -> bool:
    if isinstance(error, torch.AcceleratorError):
        return True
    if isinstance(error, OSError) and error.errno is not None:  # without a number it is transformers' own
        cache = Path(spec.cache_dir)
        return error.errno not in OF_THE_FILES or (
            isinstance(error.filename, str) and Path(error.filename).is_relative_to(cache)
        )
    return isinstance(error, RuntimeError) and any(words in str(error) for words in DEVICE)


def _system_says(error: BaseException) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__


def _words(causes: list[BaseException]) -> str:
    """The fault in a few words. Only names of types and packages come from elsewhere."""
    said = " ".join(str(cause) for cause in causes)
    if any(isinstance(cause, SafetensorError) for cause in causes):
        return "a file of its weights is damaged or truncated"
    if any(isinstance(cause, json.JSONDecodeError) for cause in causes) or "not a valid JSON" in said:
        return "one of its JSON files is not valid"
    if any(isinstance(cause, OSError) and cause.errno in OF_THE_FILES for cause in causes):
        return "a file of it is missing or may not be read"
    return _words_of_transformers(causes, said)


def _words_of_transformers(causes: list[BaseException], said: str) -> str:
    if missing := next((cause.name for cause in causes if isinstance(cause, ImportError) and cause.name), None):
        return f"the hosts lack the Python package {missing}"
    if "Unrecognized configuration class" in said:
        return "its architecture is no causal language model"
    odd = any(type(cause).__name__.startswith("StrictDataclass") for cause in causes)
    if odd or "Unrecognized model" in said or "config.json" in said:
        return "its config.json does not describe a model that transformers knows"
    return f"loading or trying it out ends with {type(causes[0]).__name__}"

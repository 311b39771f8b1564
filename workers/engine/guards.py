"""Guards around a step: typed errors for its failures, and a base in evaluation mode."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import bitsandbytes
import torch
from torch import nn

from workers.contract.errors import NonFiniteLoss, OutOfMemory


def require_finite(value: float, what: str, lines: Sequence[int]) -> None:
    """Raises NonFiniteLoss, naming the lines of the rows involved, when `value` is NaN or infinite."""
    if value - value != 0:
        rows = f" (rows of line {', '.join(map(str, sorted(lines)))})" if lines else ""
        raise NonFiniteLoss(f"{what} is {value}{rows}; lower the learning rate or inspect these rows")


@contextmanager
def memory_guarded(what: str = "the step", remedy: str = "micro_batch_size or max_seq_len") -> Iterator[None]:
    """Turns every out-of-memory error into OutOfMemory. The message says that `what` did not fit and which option
    (`remedy`) to lower. The tensors are freed with the frames.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(f"{what} did not fit into device memory; lower {remedy}") from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise OutOfMemory(f"{what} did not fit into host memory; lower {remedy}") from error


def freeze_base(model: nn.Module) -> None:
    """Turn off the base's own dropout, which no job's seed controls.

    bitsandbytes' linears stay in training mode: in evaluation mode they repack their weights on CPUs with AVX512-BF16,
    and the repacked form has no backward.
    """
    model.eval()
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit | bitsandbytes.nn.Linear8bitLt):
            module.train()

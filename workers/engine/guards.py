"""Guards around a step: what a failure is called, and a base that keeps still."""

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
        raise NonFiniteLoss(f"{what} is {value}{rows}; lower the learning rate or look at these rows")


@contextmanager
def memory_guarded(what: str = "the step", remedy: str = "micro_batch_size or max_seq_len") -> Iterator[None]:
    """Turns every form of running out of memory into OutOfMemory, which says that `what` did not fit and that to lower
    `remedy` may help. The allocator frees the tensors with the frames.
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
    """No dropout of the base's own: it is frozen, and its noise would be nobody's seed's.

    bitsandbytes' linears stay in training mode, for only then is their backward sure: in evaluation mode they repack
    their weights on CPUs with AVX512-BF16.
    """
    model.eval()
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit | bitsandbytes.nn.Linear8bitLt):
            module.train()

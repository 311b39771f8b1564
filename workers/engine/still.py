"""Keeping the resident base still."""

import bitsandbytes
from torch import nn


def still(model: nn.Module) -> None:
    """No dropout of the base's own: it is frozen, and its noise would be nobody's seed's.

    bitsandbytes' linears stay in training mode, for only then is their backward sure: in evaluation mode they repack
    their weights on CPUs with AVX512-BF16.
    """
    model.eval()
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit | bitsandbytes.nn.Linear8bitLt):
            module.train()

"""Activation recomputation, pass by pass: layers keep only their input and run again in the backward pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer


class Recomputation:
    """Switches recomputation in the layers of one base. It also needs their training flag, which has no other effect.

    transformers' own switch would also make the embeddings require gradients, for a checkpoint variant not used here.
    """

    def __init__(self, model: nn.Module) -> None:
        self._layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
        for layer in self._layers:
            layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)

    @property
    def possible(self) -> bool:
        """Whether the base has layers that can recompute."""
        return bool(self._layers)

    @contextmanager
    def when(self, wanted: bool) -> Iterator[None]:
        """Recompute in the passes of this block if `wanted`. The block must span the backward pass."""
        for layer in self._layers:
            layer.gradient_checkpointing = layer.training = wanted
        try:
            yield
        finally:
            for layer in self._layers:
                layer.gradient_checkpointing = layer.training = False

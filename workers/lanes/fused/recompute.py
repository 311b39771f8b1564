"""Recomputing activations, pass by pass: layers keep their input only and run again in the backward pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer


class Recomputation:
    """Switches the layers of one base. They look at their own training flag for it, which sets nothing else going.

    transformers' own switch would also make the embeddings require gradients, for a kind of checkpoint not used here.
    """

    def __init__(self, model: nn.Module) -> None:
        self._layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
        for layer in self._layers:
            layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)

    @property
    def possible(self) -> bool:
        """Whether the base is built of layers that can."""
        return bool(self._layers)

    @contextmanager
    def when(self, wanted: bool) -> Iterator[None]:
        """Recompute in the passes of this block, or do not. The block spans the backward pass."""
        for layer in self._layers:
            layer.gradient_checkpointing = layer.training = wanted
        try:
            yield
        finally:
            for layer in self._layers:
                layer.gradient_checkpointing = layer.training = False

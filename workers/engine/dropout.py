"""Dropout masks that depend on the job alone: keyed, not drawn from a shared stream (cf. Philox, SC'11)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workers.engine.seeds import derive_seed


@dataclass(frozen=True)
class DropoutKey:
    """Which mask: of a job's micro-batch. With a linear's path it names one mask, now and at recomputation."""

    seed: int
    step: int
    micro_batch: int
    probability: float

    def mask(self, path: str, like: Tensor) -> Tensor:
        """0 or 1 / (1 - p) for each element of `like` [B, T, in], in its dtype. Rows and positions count from 0."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "dropout", self.step, self.micro_batch, path))
        keep = 1.0 - self.probability
        mask = torch.empty(like.shape, dtype=torch.float32).bernoulli_(keep, generator=generator)
        return mask.div_(keep).to(device=like.device, dtype=like.dtype)


class KeyedDropout(nn.Module):
    """Stands in for PEFT's dropout of one adapter on one linear. `key` is set before each micro-batch."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.key: DropoutKey | None = None

    def forward(self, x: Tensor) -> Tensor:
        """`x` [B, T, in] times its mask; unchanged outside training."""
        if not self.training or self.key is None:
            return x
        return x * self.key.mask(self.path, x)

"""Random numbers that depend only on the job: seeds by purpose, and keyed dropout masks (cf. Philox, SC'11)."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose of one job, such as `("dropout", step, micro_batch)`."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


@dataclass(frozen=True)
class DropoutKey:
    """One micro-batch of a job. With a linear's path it identifies one mask, also when activations are recomputed."""

    seed: int
    step: int
    micro_batch: int

    def mask(self, path: str, like: Tensor, probability: float) -> Tensor:
        """0 or 1 / (1 - p) for each element of `like` [B, T, in], in its dtype. Rows and positions count from 0."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "dropout", self.step, self.micro_batch, path))
        keep = 1.0 - probability
        mask = torch.empty(like.shape, dtype=torch.float32).bernoulli_(keep, generator=generator)
        return mask.div_(keep).to(device=like.device, dtype=like.dtype)


class KeyedDropout(nn.Module):
    """Replaces PEFT's dropout of one adapter on one linear. `key` is set before each micro-batch."""

    def __init__(self, path: str, probability: float) -> None:
        super().__init__()
        self.path = path
        self.probability = probability
        self.key: DropoutKey | None = None

    def forward(self, x: Tensor) -> Tensor:
        """`x` [B, T, in] times its mask; unchanged outside training."""
        if not self.training or self.key is None:
            return x
        return x * self.key.mask(self.path, x, self.probability)

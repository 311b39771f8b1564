"""An adapter as a seat sees it: named tensors and Adam moments, wherever a stepper keeps them."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

EXP_AVG = "exp_avg"
EXP_AVG_SQ = "exp_avg_sq"


class Adapter(Protocol):
    """Trainable weights by the names PEFT stores them under: `….q_proj.lora_A.weight` [r, in], `lora_B` [out, r].

    Tensors handed out are views of live memory; whoever keeps one beyond the next step copies it.
    """

    @property
    def name(self) -> str:
        """Unlike that of any other adapter of the stepper."""

    def weights(self) -> Mapping[str, Tensor]:
        """Every weight, by name."""

    def moments(self) -> Mapping[str, Tensor]:
        """AdamW's moments as `<weight>:exp_avg` and `<weight>:exp_avg_sq`; empty before the first update."""

    def load(self, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor], updates: int) -> None:
        """Continue from copies of what `weights` and `moments` once gave, after `updates` updates."""


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies in host memory that training does not touch."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}

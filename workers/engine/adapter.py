"""An adapter as a seat sees it: named tensors and Adam moments, independent of how a stepper stores them."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

EXP_AVG = "exp_avg"
EXP_AVG_SQ = "exp_avg_sq"


class Adapter(Protocol):
    """Trainable weights under PEFT's names: `….q_proj.lora_A.weight` [r, in], `lora_B` [out, r].

    The tensors are views of live memory: copy one to keep it beyond the next step.
    """

    @property
    def name(self) -> str:
        """Unique among the stepper's adapters."""

    def weights(self) -> Mapping[str, Tensor]:
        """Every weight, by name."""

    def moments(self) -> Mapping[str, Tensor]:
        """AdamW's moments as `<weight>:exp_avg` and `<weight>:exp_avg_sq`; empty before the first update."""

    def load(self, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor], updates: int) -> None:
        """Continue after `updates` updates, from copies of `weights` and `moments`."""


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies in host memory that training does not touch."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}

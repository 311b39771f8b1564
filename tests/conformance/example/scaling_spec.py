"""The torch-free half of the example: scaling of outputs, as (IA)³ does it (arXiv 2205.05638)."""

from typing import Any, ClassVar, Literal

from workers.contract.base import LinearShape
from workers.contract.methods import METHODS
from workers.contract.methods.on_linears import OnLinears, Targets


@METHODS.register
class Scaling(OnLinears):
    """y = s * (W x) on each adapted linear, with s [out]."""

    type: Literal["example_scaling"] = "example_scaling"
    target_modules: Targets = ("q_proj", "down_proj")

    title: ClassVar[str] = "Scaling"
    peft_type: ClassVar[str] = "IA3"

    def of_linear(self, linear: LinearShape) -> int:
        return linear.outputs

    def peft_options(self) -> dict[str, Any]:
        return {"feedforward_modules": []}

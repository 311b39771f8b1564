"""The torch-free half of the example: (IA)³ scaling of outputs (arXiv 2205.05638)."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from workers.contract.base import BaseShape, BaseSpec
from workers.contract.lanes import Lane
from workers.contract.methods import METHODS, MethodSpec
from workers.contract.methods.method import below


@METHODS.register
class Scaling(MethodSpec):
    """y = s * (W x) on each adapted linear, with s [out]."""

    type: Literal["example_scaling"] = "example_scaling"
    target_modules: tuple[str, ...] = ("q_proj", "down_proj")

    title: ClassVar[str] = "Scaling"
    tasks: ClassVar[frozenset[str]] = frozenset({"causal_lm"})
    lanes: ClassVar[frozenset[Lane]] = frozenset({Lane.SOLO})

    def resolve(self, linears: Sequence[str]) -> Self:
        if unknown := set(self.target_modules) - set(linears):
            raise ValueError(f"the base has no linear '{min(unknown)}' to scale")
        return self

    def trained(self, shape: BaseShape) -> int:
        return sum(linear.count * linear.outputs for linear in shape.linears if linear.name in self.target_modules)

    def stock_config(self, base: BaseSpec) -> dict[str, Any]:
        return {
            "peft_type": "IA3",
            "task_type": "CAUSAL_LM",
            "target_modules": below(base.shape.decoder, self.target_modules),
        }

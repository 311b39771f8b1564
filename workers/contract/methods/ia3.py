"""(IA)³: vectors that scale keys, values and what the feed-forward layers pass on (arXiv 2205.05638)."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from workers.contract.base import LinearShape
from workers.contract.methods.method import METHODS
from workers.contract.methods.on_linears import ModuleName, OnLinears, Targets


@METHODS.register
class Ia3(OnLinears):
    """y = s * (W x) on each adapted linear, s [out]; y = W (s * x), s [in], on those of the feed-forward layers."""

    type: Literal["ia3"] = "ia3"
    target_modules: Targets = Field(
        ("k_proj", "v_proj", "down_proj"), description='last name parts of the linears to scale; or "all-linear"'
    )
    feedforward_modules: tuple[ModuleName, ...] = Field(
        ("down_proj", "fc2", "wo"), max_length=64, description="of those, the ones whose inputs are scaled"
    )

    title: ClassVar[str] = "(IA)³"
    peft_type: ClassVar[str] = "IA3"

    def of_linear(self, linear: LinearShape) -> int:
        """One weight an output, or an input."""
        return linear.inputs if linear.name in self.feedforward_modules else linear.outputs

    def peft_options(self) -> dict[str, Any]:
        """See `OnLinears.peft_options`."""
        return {"feedforward_modules": [name for name in self.feedforward_modules if name in self.target_modules]}

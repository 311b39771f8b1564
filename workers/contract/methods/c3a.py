"""C3A: circular convolutions of blocks of the inputs (arXiv 2407.19342)."""

from typing import Any, ClassVar, Literal

from pydantic import Field, StrictInt

from workers.contract.base import LinearShape
from workers.contract.methods.method import METHODS
from workers.contract.methods.on_linears import OnLinears, divides


@METHODS.register
class C3a(OnLinears):
    """y = W x + C x, C of circulant blocks of `block_size`."""

    type: Literal["c3a"] = "c3a"
    block_size: StrictInt = Field(64, ge=1, le=8192, description="of the blocks; it divides both sides of each linear")

    title: ClassVar[str] = "C³A"
    peft_type: ClassVar[str] = "C3A"
    starts_as_base: ClassVar[bool] = False

    def unfit(self, linear: LinearShape) -> str | None:
        """See `OnLinears.unfit`."""
        sides = (divides("block_size", self.block_size, linear, side) for side in (linear.inputs, linear.outputs))
        return next(filter(None, sides), None)

    def of_linear(self, linear: LinearShape) -> int:
        """One column a block."""
        return linear.inputs * linear.outputs // self.block_size

    def peft_options(self) -> dict[str, Any]:
        """See `OnLinears.peft_options`."""
        return {"block_size": self.block_size}

    def facts(self) -> dict[str, str]:
        """See `MethodSpec.facts`."""
        return {"block_size": str(self.block_size)}

"""OFT: rotations of inputs, block by block (arXiv 2306.07280)."""

from typing import Any, ClassVar, Literal

from pydantic import Field, StrictInt

from workers.contract.base import LinearShape
from workers.contract.methods.method import METHODS
from workers.contract.methods.on_linears import OnLinears, divides


@METHODS.register
class Oft(OnLinears):
    """y = W (R x), R orthogonal and block-diagonal; each block is the Cayley transform of a skew-symmetric matrix."""

    type: Literal["oft"] = "oft"
    block_size: StrictInt = Field(32, ge=2, le=1024, description="of the blocks; it divides the inputs of each linear")

    title: ClassVar[str] = "OFT"
    peft_type: ClassVar[str] = "OFT"

    def unfit(self, linear: LinearShape) -> str | None:
        """See `OnLinears.unfit`."""
        return divides("block_size", self.block_size, linear, linear.inputs)

    def of_linear(self, linear: LinearShape) -> int:
        """A skew-symmetric matrix a block."""
        return linear.inputs // self.block_size * (self.block_size * (self.block_size - 1) // 2)

    def peft_options(self) -> dict[str, Any]:
        """See `OnLinears.peft_options`."""
        return {"oft_block_size": self.block_size}

    def facts(self) -> dict[str, str]:
        """See `MethodSpec.facts`."""
        return {"block_size": str(self.block_size)}

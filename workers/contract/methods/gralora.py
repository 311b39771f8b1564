"""GraLoRA: LoRA on each block of a grid over the weight (arXiv 2505.20355)."""

from typing import Any, ClassVar, Literal

from pydantic import Field, StrictFloat, StrictInt, model_validator

from workers.contract.base import LinearShape
from workers.contract.methods.method import METHODS
from workers.contract.methods.on_linears import MAX_RANK, OnLinears, divides


@METHODS.register
class GraLora(OnLinears):
    """The update is a grid of `blocks` x `blocks` low-rank blocks, with as many weights as LoRA of the same rank."""

    type: Literal["gralora"] = "gralora"
    rank: StrictInt = Field(32, ge=1, le=MAX_RANK, description="r, a multiple of blocks; a linear gains r * (in + out)")
    alpha: StrictFloat = Field(64.0, gt=0, le=65536, description="scale = alpha / r")
    blocks: StrictInt = Field(2, ge=1, le=64, description="a side of the grid; it divides both sides of each linear")

    title: ClassVar[str] = "GraLoRA"
    peft_type: ClassVar[str] = "GRALORA"

    @model_validator(mode="after")
    def _blocks_divide_rank(self) -> "GraLora":
        if self.rank % self.blocks:
            raise ValueError(f"rank ({self.rank}) must be a multiple of blocks ({self.blocks})")
        return self

    def unfit(self, linear: LinearShape) -> str | None:
        """See `OnLinears.unfit`."""
        sides = (divides("blocks", self.blocks, linear, side) for side in (linear.inputs, linear.outputs))
        return next(filter(None, sides), None)

    def of_linear(self, linear: LinearShape) -> int:
        """A and B of each block."""
        return self.rank * (linear.inputs + linear.outputs)

    def peft_options(self) -> dict[str, Any]:
        """See `OnLinears.peft_options`."""
        return {"r": self.rank, "alpha": self.alpha, "gralora_k": self.blocks}

    def facts(self) -> dict[str, str]:
        """See `MethodSpec.facts`."""
        return {"rank": str(self.rank), "alpha": f"{self.alpha:g}"}

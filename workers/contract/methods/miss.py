"""MiSS: a matrix shared by shards of the inputs (arXiv 2409.15371)."""

from typing import Any, ClassVar, Literal

from pydantic import Field, StrictInt

from workers.contract.base import LinearShape
from workers.contract.methods.method import METHODS
from workers.contract.methods.on_linears import MAX_RANK, OnLinears


@METHODS.register
class Miss(OnLinears):
    """y = W x + D S x, where S sums the inputs in `rank` shards and D is [out, rank]."""

    type: Literal["miss"] = "miss"
    rank: StrictInt = Field(64, ge=1, le=MAX_RANK, description="shards of the inputs, at most as many as inputs")

    title: ClassVar[str] = "MiSS"
    peft_type: ClassVar[str] = "MISS"

    def unfit(self, linear: LinearShape) -> str | None:
        """See `OnLinears.unfit`."""
        if self.rank <= linear.inputs:
            return None
        return f"rank is {self.rank}, more than the {linear.inputs} inputs of '{linear.name}'"

    def of_linear(self, linear: LinearShape) -> int:
        """D [rank, out]."""
        return self.rank * linear.outputs

    def peft_options(self) -> dict[str, Any]:
        """See `OnLinears.peft_options`."""
        return {"r": self.rank}

    def facts(self) -> dict[str, str]:
        """See `MethodSpec.facts`."""
        return {"rank": str(self.rank)}

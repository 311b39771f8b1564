"""VeRA: vectors between two random matrices that all linears share (arXiv 2310.11454)."""

from typing import Any, ClassVar, Literal

from pydantic import Field, StrictFloat, StrictInt

from workers.contract.base import LinearShape
from workers.contract.methods.method import METHODS
from workers.contract.methods.on_linears import MAX_RANK, OnLinears


@METHODS.register
class Vera(OnLinears):
    """y = W x + b * (B (d * (A x))), A and B frozen, from `projection_seed`; b [out], d [rank] trained."""

    type: Literal["vera"] = "vera"
    rank: StrictInt = Field(256, ge=1, le=MAX_RANK, description="rows of A; they are not trained")
    d_initial: StrictFloat = Field(0.1, gt=0, le=1, description="what d begins with")
    projection_seed: StrictInt = Field(0, ge=0, le=2**31 - 1, description="A and B are drawn from it")

    title: ClassVar[str] = "VeRA"
    peft_type: ClassVar[str] = "VERA"

    def of_linear(self, linear: LinearShape) -> int:
        """b [out] and d [rank]."""
        return self.rank + linear.outputs

    def peft_options(self) -> dict[str, Any]:
        """See `OnLinears.peft_options`."""
        return {
            "r": self.rank,
            "d_initial": self.d_initial,
            "projection_prng_key": self.projection_seed,
            "save_projection": False,
        }

    def facts(self) -> dict[str, str]:
        """See `MethodSpec.facts`."""
        return {"rank": str(self.rank)}

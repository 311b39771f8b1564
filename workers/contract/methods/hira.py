"""HiRA: a low-rank factor that multiplies the weights of the base (ICLR 2025)."""

from typing import Any, ClassVar, Literal

from pydantic import Field, StrictInt

from workers.contract.base import LinearShape
from workers.contract.methods.method import METHODS
from workers.contract.methods.on_linears import MAX_RANK, OnLinears


@METHODS.register
class Hira(OnLinears):
    """y = W x + (W * (B A)) x, with A [rank, in] and B [out, rank]."""

    type: Literal["hira"] = "hira"
    rank: StrictInt = Field(32, ge=1, le=MAX_RANK, description="r; an adapted linear gains r * (in + out) weights")

    title: ClassVar[str] = "HiRA"
    peft_type: ClassVar[str] = "HIRA"

    def of_linear(self, linear: LinearShape) -> int:
        """A [r, in] and B [out, r]."""
        return self.rank * (linear.inputs + linear.outputs)

    def peft_options(self) -> dict[str, Any]:
        """See `OnLinears.peft_options`."""
        return {"r": self.rank}

    def facts(self) -> dict[str, str]:
        """See `MethodSpec.facts`."""
        return {"rank": str(self.rank)}

"""LoHa: a Hadamard product of two low-rank matrices (arXiv 2108.06098)."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, StrictFloat, StrictInt

from workers.contract.base import LinearShape, Quantization
from workers.contract.methods.method import METHODS
from workers.contract.methods.on_linears import MAX_RANK, OnLinears


@METHODS.register
class LoHa(OnLinears):
    """y = W x + scale * ((A1 B1) * (A2 B2)) x."""

    type: Literal["loha"] = "loha"
    rank: StrictInt = Field(8, ge=1, le=MAX_RANK, description="r; an adapted linear gains 2 r (in + out) weights")
    alpha: StrictFloat = Field(8.0, gt=0, le=65536, description="scale = alpha / r")

    title: ClassVar[str] = "LoHa"
    peft_type: ClassVar[str] = "LOHA"
    refused: ClassVar[Mapping[Quantization, str]] = {
        Quantization.NF4: "PEFT's form of it multiplies the packed codes of nf4"
    }

    def of_linear(self, linear: LinearShape) -> int:
        """Two pairs of [out, r] and [r, in]."""
        return 2 * self.rank * (linear.inputs + linear.outputs)

    def peft_options(self) -> dict[str, Any]:
        """See `OnLinears.peft_options`."""
        return {"r": self.rank, "alpha": self.alpha}

    def facts(self) -> dict[str, str]:
        """See `MethodSpec.facts`."""
        return {"rank": str(self.rank), "alpha": f"{self.alpha:g}"}

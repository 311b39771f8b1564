"""LoKr: a Kronecker product of two small matrices (arXiv 2309.14859)."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, StrictFloat, StrictInt

from workers.contract.base import LinearShape, Quantization
from workers.contract.methods.method import METHODS
from workers.contract.methods.on_linears import MAX_RANK, OnLinears


@METHODS.register
class LoKr(OnLinears):
    """y = W x + scale * (C kron D) x, where D is of low rank if that is smaller."""

    type: Literal["lokr"] = "lokr"
    rank: StrictInt = Field(8, ge=1, le=MAX_RANK, description="of the larger factor")
    alpha: StrictFloat = Field(8.0, gt=0, le=65536, description="scale = alpha / r")

    title: ClassVar[str] = "LoKr"
    peft_type: ClassVar[str] = "LOKR"
    refused: ClassVar[Mapping[Quantization, str]] = {
        Quantization.NF4: "PEFT's form of it multiplies the packed codes of nf4"
    }

    def of_linear(self, linear: LinearShape) -> int:
        """The factors of [out, in], each side split as near to its root as it divides."""
        (few_in, many_in), (few_out, many_out) = _split(linear.inputs), _split(linear.outputs)
        whole = few_out * few_in
        if self.rank < max(many_out, many_in) / 2:
            return whole + self.rank * (many_out + many_in)
        return whole + many_out * many_in

    def peft_options(self) -> dict[str, Any]:
        """See `OnLinears.peft_options`."""
        return {"r": self.rank, "alpha": self.alpha}

    def facts(self) -> dict[str, str]:
        """See `MethodSpec.facts`."""
        return {"rank": str(self.rank), "alpha": f"{self.alpha:g}"}


def _split(size: int) -> tuple[int, int]:
    """Two factors, the smaller first, as near to each other as they can be."""
    small = next(factor for factor in range(math.isqrt(size), 0, -1) if size % factor == 0)
    return small, size // small

"""HRA: a chain of Householder reflections of the inputs (arXiv 2405.17484)."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt, field_validator

from workers.contract.base import LinearShape, Quantization
from workers.contract.methods.method import METHODS
from workers.contract.methods.on_linears import MAX_RANK, OnLinears


@METHODS.register
class Hra(OnLinears):
    """y = W H x, H the product of `rank` reflections, in equal pairs at first, so that it begins as the identity."""

    type: Literal["hra"] = "hra"
    rank: StrictInt = Field(8, ge=1, le=MAX_RANK, description="reflections a linear; even")
    apply_gs: StrictBool = Field(False, description="orthogonalize the reflections (Gram-Schmidt)")

    title: ClassVar[str] = "HRA"
    peft_type: ClassVar[str] = "HRA"
    refused: ClassVar[Mapping[Quantization, str]] = {
        Quantization.INT8: "PEFT would train on the codes of int8 as if they were weights",
        Quantization.NF4: "PEFT's form of it multiplies the packed codes of nf4",
    }

    @field_validator("rank")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("it has to be even: reflections begin in pairs that cancel")
        return value

    def of_linear(self, linear: LinearShape) -> int:
        """A vector [in] a reflection."""
        return self.rank * linear.inputs

    def peft_options(self) -> dict[str, Any]:
        """See `OnLinears.peft_options`."""
        return {"r": self.rank, "apply_GS": self.apply_gs}

    def facts(self) -> dict[str, str]:
        """See `MethodSpec.facts`."""
        return {"rank": str(self.rank)}

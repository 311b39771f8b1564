"""LoRA: low-rank adaptation (arXiv 2106.09685)."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, StrictBool, StrictFloat, StrictInt

from workers.contract.base import LinearShape, Quantization
from workers.contract.lanes import Lane
from workers.contract.methods.method import METHODS
from workers.contract.methods.on_linears import MAX_RANK, OnLinears


@METHODS.register
class Lora(OnLinears):
    """y = W x + scale * B A dropout(x) on each adapted linear, with A [rank, in] and B [out, rank]."""

    type: Literal["lora"] = "lora"
    rank: StrictInt = Field(8, ge=1, le=MAX_RANK, description="r; an adapted linear gains r * (in + out) weights")
    alpha: StrictFloat | None = Field(
        None, gt=0, le=4096, description="scale = alpha / r, or alpha / sqrt(r) with rslora; null: twice the rank"
    )
    dropout: StrictFloat = Field(0.0, ge=0, lt=1, description="probability of zeroing an input of A while training")
    rslora: StrictBool = Field(False, description="rank-stabilized scale (arXiv 2312.03732)")
    dora: StrictBool = Field(False, description="train the length of each output's weights apart (arXiv 2402.09353)")
    lr_ratio: StrictFloat | None = Field(
        None, ge=1, le=1024, description="B learns this times as fast as A (LoRA+, arXiv 2402.12354); null: as fast"
    )

    title: ClassVar[str] = "LoRA"
    peft_type: ClassVar[str] = "LORA"
    lanes: ClassVar[frozenset[Lane]] = frozenset({Lane.FUSED, Lane.SOLO})

    @property
    def scale(self) -> float:
        """What B A x is multiplied by."""
        alpha = 2.0 * self.rank if self.alpha is None else self.alpha
        return alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def resolve(self, linears: Sequence[str]) -> Self:
        """See `MethodSpec.resolve`."""
        alpha = 2.0 * self.rank if self.alpha is None else self.alpha
        return super().resolve(linears).model_copy(update={"alpha": alpha})

    def of_linear(self, linear: LinearShape) -> int:
        """A [r, in] and B [out, r]; with DoRA, lengths [out]."""
        return self.rank * (linear.inputs + linear.outputs) + self.dora * linear.outputs

    def refuses(self, quantization: Quantization) -> str | None:
        """See `MethodSpec.refuses`."""
        if self.dora and quantization is Quantization.INT8:
            return "DoRA reads the base's weights in each pass, and PEFT loses the scales of int8 by that"
        return super().refuses(quantization)

    def unfusible(self) -> str | None:
        """See `MethodSpec.unfusible`."""
        return "dora" if self.dora else "lr_ratio" if self.lr_ratio is not None else None

    def peft_options(self) -> dict[str, Any]:
        """See `OnLinears.peft_options`."""
        alpha = 2.0 * self.rank if self.alpha is None else self.alpha
        return {
            "r": self.rank,
            "lora_alpha": int(alpha) if alpha.is_integer() else alpha,
            "lora_dropout": self.dropout,
            "use_rslora": self.rslora,
            "use_dora": self.dora,
            "bias": "none",
        }

    def facts(self) -> dict[str, str]:
        """See `MethodSpec.facts`."""
        return {"rank": str(self.rank), "alpha": f"{2.0 * self.rank if self.alpha is None else self.alpha:g}"}

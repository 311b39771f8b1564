"""LoRA: low-rank adaptation (arXiv 2106.09685)."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BeforeValidator, Field, StrictBool, StrictFloat, StrictInt, WithJsonSchema, field_validator

from workers.contract.base import BaseShape, BaseSpec
from workers.contract.lanes import Lane
from workers.contract.methods.method import METHODS, MethodSpec, below

MAX_RANK: Final = 256
ALL_LINEAR: Final = "all-linear"
ModuleName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.-]+$")]


def _listed(value: Any) -> Any:
    return (ALL_LINEAR,) if value in (ALL_LINEAR, None) else value


_NAMES: Final = {"type": "array", "items": {"type": "string", "pattern": r"^[A-Za-z0-9_.-]+$", "maxLength": 128}}
Targets = Annotated[
    tuple[ModuleName, ...],
    Field(min_length=1, max_length=64),
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [{"const": ALL_LINEAR}, _NAMES | {"minItems": 1, "maxItems": 64}]}),
]


@METHODS.register
class Lora(MethodSpec):
    """y = W x + scale * B A dropout(x) on each adapted linear, with A [rank, in] and B [out, rank]."""

    type: Literal["lora"] = "lora"
    rank: StrictInt = Field(8, ge=1, le=MAX_RANK, description="r; an adapted linear gains r * (in + out) weights")
    alpha: StrictFloat | None = Field(
        None, gt=0, le=4096, description="scale = alpha / r, or alpha / sqrt(r) with rslora; null: twice the rank"
    )
    dropout: StrictFloat = Field(0.0, ge=0, lt=1, description="probability of zeroing an input of A while training")
    target_modules: Targets = Field(
        (ALL_LINEAR,), description='last name parts of the linears to adapt; "all-linear": all that the base offers'
    )
    rslora: StrictBool = Field(False, description="rank-stabilized scale (arXiv 2312.03732)")

    title: ClassVar[str] = "LoRA"
    tasks: ClassVar[frozenset[str]] = frozenset({"causal_lm"})
    lanes: ClassVar[frozenset[Lane]] = frozenset({Lane.FUSED, Lane.SOLO})

    @field_validator("target_modules")
    @classmethod
    def _named_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("a module is named twice")
        return value

    @property
    def all_linear(self) -> bool:
        """Whether every linear that the base offers is adapted."""
        return self.target_modules == (ALL_LINEAR,)

    @property
    def scale(self) -> float:
        """What B A x is multiplied by."""
        alpha = 2.0 * self.rank if self.alpha is None else self.alpha
        return alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def resolve(self, linears: Sequence[str]) -> Self:
        """See `MethodSpec.resolve`."""
        targets = tuple(linears) if self.all_linear else self.target_modules
        if unknown := [name for name in targets if name not in linears]:
            raise ValueError(f"the base has no linear '{unknown[0]}' to adapt; it offers: {', '.join(linears)}")
        alpha = 2.0 * self.rank if self.alpha is None else self.alpha
        return self.model_copy(update={"alpha": alpha, "target_modules": targets})

    def trained(self, shape: BaseShape) -> int:
        """r * (in + out) for every adapted linear; for a linear the shape does not know, as for the widest."""
        sizes: Counter[str] = Counter()
        for linear in shape.linears:
            sizes[linear.name] += linear.count * (linear.inputs + linear.outputs)
        targets = tuple(sizes) if self.all_linear else self.target_modules
        return self.rank * sum(sizes.get(name, max(sizes.values())) for name in targets)

    def stock_config(self, base: BaseSpec) -> dict[str, Any]:
        """See `MethodSpec.stock_config`: PEFT's `adapter_config.json`."""
        return {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base.location,
            "revision": base.revision,
            "inference_mode": True,
            "r": self.rank,
            "lora_alpha": 2.0 * self.rank if self.alpha is None else self.alpha,
            "lora_dropout": self.dropout,
            "target_modules": self.stock_targets(base.shape.decoder, base.shape.linear_names),
            "use_rslora": self.rslora,
            "bias": "none",
        }

    def stock_targets(self, decoder: str | None, linears: Sequence[str]) -> str | list[str]:
        """PEFT's `target_modules`. `decoder`: see `BaseShape.decoder`; `linears`: names of all that a base offers."""
        if self.all_linear and decoder is None:
            return ALL_LINEAR
        return below(decoder, linears if self.all_linear else self.target_modules)

    def facts(self) -> dict[str, str]:
        """See `MethodSpec.facts`."""
        return {"rank": str(self.rank), "alpha": f"{2.0 * self.rank if self.alpha is None else self.alpha:g}"}

"""What the methods of PEFT have in common that add weights to linears: which linears, how many weights, which file."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator

from workers.contract.base import BaseShape, BaseSpec, LinearShape
from workers.contract.lanes import Lane
from workers.contract.methods.method import MethodSpec, below

ALL_LINEAR: Final = "all-linear"
MAX_RANK: Final = 256
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


class OnLinears(MethodSpec):
    """A method that adds weights to each adapted linear, by a tuner of PEFT."""

    target_modules: Targets = Field(
        (ALL_LINEAR,), description='last name parts of the linears to adapt; "all-linear": all that the base offers'
    )

    tasks: ClassVar[frozenset[str]] = frozenset({"causal_lm"})
    lanes: ClassVar[frozenset[Lane]] = frozenset({Lane.SOLO})
    peft_type: ClassVar[str]
    """Name of the tuner in PEFT."""

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

    def of_linear(self, linear: LinearShape) -> int:
        """How many weights such a linear gains."""
        raise NotImplementedError

    def unfit(self, linear: LinearShape) -> str | None:
        """Why a linear of these sizes cannot be adapted; None: it can."""
        return None

    def peft_options(self) -> dict[str, Any]:
        """The options of PEFT's configuration, beside those that all tuners have."""
        raise NotImplementedError

    def resolve(self, linears: Sequence[str]) -> Self:
        """See `MethodSpec.resolve`."""
        targets = tuple(linears) if self.all_linear else self.target_modules
        if unknown := [name for name in targets if name not in linears]:
            raise ValueError(f"the base has no linear '{unknown[0]}' to adapt; it offers: {', '.join(linears)}")
        return self.model_copy(update={"target_modules": targets})

    def check(self, shape: BaseShape) -> None:
        """See `MethodSpec.check`."""
        for linear in shape.linears:
            if (self.all_linear or linear.name in self.target_modules) and (why := self.unfit(linear)):
                raise ValueError(why)

    def trained(self, shape: BaseShape) -> int:
        """`of_linear` of every adapted linear; for a linear that the shape does not know, that of the costliest."""
        sizes: Counter[str] = Counter()
        for linear in shape.linears:
            sizes[linear.name] += linear.count * self.of_linear(linear)
        targets = tuple(sizes) if self.all_linear else self.target_modules
        return sum(sizes.get(name, max(sizes.values())) for name in targets)

    def stock_config(self, base: BaseSpec) -> dict[str, Any]:
        """See `MethodSpec.stock_config`: PEFT's `adapter_config.json`."""
        return {
            "peft_type": self.peft_type,
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base.location,
            "revision": base.revision,
            "inference_mode": True,
            "target_modules": self.stock_targets(base.shape.decoder, base.shape.linear_names),
        } | self.peft_options()

    def stock_targets(self, decoder: str | None, linears: Sequence[str]) -> str | list[str]:
        """PEFT's `target_modules`. `decoder`: see `BaseShape.decoder`; `linears`: names of all that a base offers."""
        if self.all_linear and decoder is None:
            return ALL_LINEAR
        return below(decoder, linears if self.all_linear else self.target_modules)


def divides(option: str, size: int, linear: LinearShape, side: int) -> str | None:
    """What is wrong if `size` does not divide that side of the linear."""
    if side % size == 0:
        return None
    return f"{option} is {size}, which does not divide the {side} of '{linear.name}'; name other linears, or a divisor"

"""What every method says of itself without torch."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Self

from workers.contract.base import BaseShape, BaseSpec, Quantization
from workers.contract.lanes import Lane
from workers.contract.memory import SNAPSHOT_BYTES, TRAINED_BYTES
from workers.contract.model import Frozen
from workers.contract.registry import Registry


class MethodSpec(Frozen):
    """The hyperparameters of a method: each defined once, here, for the API, the job file, the CLI and the worker."""

    type: str
    title: ClassVar[str]
    """How people write its name."""
    tasks: ClassVar[frozenset[str]]
    """The tasks it can be trained on."""
    starts_as_base: ClassVar[bool] = True
    """Whether it changes nothing before its first step."""
    refused: ClassVar[Mapping[Quantization, str]] = {}
    """How the base may not be stored, and why."""
    lanes: ClassVar[frozenset[Lane]]
    """The lanes that can train it."""

    @property
    def extra_tokens(self) -> int:
        """Tokens that it adds to each row in the base."""
        return 0

    def resolve(self, linears: Sequence[str]) -> Self:
        """The same with a value for all that was left open, on a base that offers `linears`, by their last name part.

        Raises: ValueError for what the base does not have.
        """
        raise NotImplementedError

    def check(self, shape: BaseShape) -> None:
        """Raises: ValueError for options that do not fit the sizes of the base."""

    def refuses(self, quantization: Quantization) -> str | None:
        """Why it does not train on a base that is stored so; None: it does."""
        return self.refused.get(quantization)

    def unfusible(self) -> str | None:
        """Which of its options no fused pass knows; None: none."""
        return None

    def trained(self, shape: BaseShape) -> int:
        """How many weights are trained on a base of this shape."""
        raise NotImplementedError

    def seat_bytes(self, shape: BaseShape) -> int:
        """What a seat adds to a host that already holds its base, between passes."""
        return self.trained(shape) * (TRAINED_BYTES + SNAPSHOT_BYTES)

    def stock_config(self, base: BaseSpec) -> dict[str, Any]:
        """The configuration file that the stock library of the method reads, as far as it differs from its defaults."""
        raise NotImplementedError

    def facts(self) -> dict[str, str]:
        """Its main hyperparameters by name, for tags and pages."""
        return {}


def below(decoder: str | None, names: Sequence[str]) -> str | list[str]:
    """How PEFT is told which linears to adapt: by their last name parts, or by a regular expression over whole paths
    where the model holds other networks beside its decoder (`BaseShape.decoder`).
    """
    if decoder is None:
        return list(names)
    return rf"{re.escape(decoder)}\.(?:.+\.)?(?:{'|'.join(map(re.escape, names))})"


METHODS: Final[Registry[MethodSpec]] = Registry("method", default="lora")

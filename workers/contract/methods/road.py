"""RoAd: rotations of pairs of outputs, with a scale (arXiv 2409.00119)."""

from typing import Any, ClassVar, Literal

from pydantic import Field, StrictInt

from workers.contract.base import LinearShape
from workers.contract.methods.method import METHODS
from workers.contract.methods.on_linears import OnLinears, divides


@METHODS.register
class Road(OnLinears):
    """y = R W x, R of rotated and scaled pairs of outputs (variant 1)."""

    type: Literal["road"] = "road"
    group_size: StrictInt = Field(
        64, ge=2, le=4096, description="outputs paired with each other; it divides all outputs"
    )

    title: ClassVar[str] = "RoAd"
    peft_type: ClassVar[str] = "ROAD"

    def unfit(self, linear: LinearShape) -> str | None:
        """See `OnLinears.unfit`."""
        return divides("group_size", self.group_size, linear, linear.outputs)

    def of_linear(self, linear: LinearShape) -> int:
        """An angle and a scale a pair."""
        return linear.outputs

    def peft_options(self) -> dict[str, Any]:
        """See `OnLinears.peft_options`."""
        return {"variant": "road_1", "group_size": self.group_size}

    def facts(self) -> dict[str, str]:
        """See `MethodSpec.facts`."""
        return {"group_size": str(self.group_size)}

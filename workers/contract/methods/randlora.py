"""RandLoRA: a full-rank update from scaled random low-rank matrices (arXiv 2502.00987)."""

from typing import Any, ClassVar, Literal

from pydantic import Field, StrictFloat, StrictInt

from workers.contract.base import LinearShape
from workers.contract.methods.method import METHODS
from workers.contract.methods.on_linears import MAX_RANK, OnLinears


@METHODS.register
class RandLora(OnLinears):
    """y = W x + scale * sum of B_n L_n A_n G_n x, A and B frozen, from `projection_seed`; diagonal L, G trained."""

    type: Literal["randlora"] = "randlora"
    rank: StrictInt = Field(32, ge=1, le=MAX_RANK, description="of each random matrix")
    alpha: StrictFloat = Field(640.0, gt=0, le=65536, description="scale = alpha / r")
    projection_seed: StrictInt = Field(0, ge=0, le=2**31 - 1, description="the random matrices are drawn from it")

    title: ClassVar[str] = "RandLoRA"
    peft_type: ClassVar[str] = "RANDLORA"

    def of_linear(self, linear: LinearShape) -> int:
        """L [r, n] and G [n, smaller side], with n matrices of rank r to reach full rank."""
        smaller = min(linear.inputs, linear.outputs)
        return -(-smaller // self.rank) * (self.rank + smaller)

    def peft_options(self) -> dict[str, Any]:
        """See `OnLinears.peft_options`."""
        return {
            "r": self.rank,
            "randlora_alpha": self.alpha,
            "projection_prng_key": self.projection_seed,
            "save_projection": False,
        }

    def facts(self) -> dict[str, str]:
        """See `MethodSpec.facts`."""
        return {"rank": str(self.rank)}

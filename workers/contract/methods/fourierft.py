"""FourierFT: a few coefficients of the spectrum of the update (arXiv 2405.03003)."""

from typing import Any, ClassVar, Literal

from pydantic import Field, StrictFloat, StrictInt

from workers.contract.base import LinearShape
from workers.contract.lanes import Lane
from workers.contract.methods.method import METHODS
from workers.contract.methods.on_linears import OnLinears


@METHODS.register
class FourierFt(OnLinears):
    """y = W x + scale * IFFT2(S) x, with `n_frequency` trained entries in S at places from `location_seed`."""

    type: Literal["fourierft"] = "fourierft"
    n_frequency: StrictInt = Field(1000, ge=1, le=1_000_000, description="trained entries a linear")
    scaling: StrictFloat = Field(150.0, gt=0, le=1e6)
    location_seed: StrictInt = Field(777, ge=0, le=2**31 - 1, description="the places of the entries are drawn from it")

    title: ClassVar[str] = "FourierFT"
    peft_type: ClassVar[str] = "FOURIERFT"
    tasks: ClassVar[frozenset[str]] = frozenset({"causal_lm"})
    lanes: ClassVar[frozenset[Lane]] = frozenset({Lane.SOLO})
    starts_as_base: ClassVar[bool] = False

    def unfit(self, linear: LinearShape) -> str | None:
        """See `OnLinears.unfit`."""
        most = linear.inputs * linear.outputs
        return (
            None if self.n_frequency <= most else f"n_frequency is {self.n_frequency}, but '{linear.name}' has {most}"
        )

    def of_linear(self, linear: LinearShape) -> int:
        """One weight a frequency."""
        return self.n_frequency

    def peft_options(self) -> dict[str, Any]:
        """See `OnLinears.peft_options`."""
        return {
            "n_frequency": self.n_frequency,
            "scaling": self.scaling,
            "random_loc_seed": self.location_seed,
        }

    def facts(self) -> dict[str, str]:
        """See `MethodSpec.facts`."""
        return {"n_frequency": str(self.n_frequency)}

"""What the methods have in common that train a few entries of a transform of the update."""

from typing import Any

from pydantic import Field, StrictFloat, StrictInt

from workers.contract.base import LinearShape
from workers.contract.methods.on_linears import OnLinears

MAX_FREQUENCIES = 1_000_000


class SpectralEntries(OnLinears):
    """y = W x + scale * T(S) x, with `n_frequency` trained entries in S at places from `location_seed`."""

    n_frequency: StrictInt = Field(ge=1, le=MAX_FREQUENCIES, description="trained entries a linear")
    scaling: StrictFloat = Field(gt=0, le=1e6)
    location_seed: StrictInt = Field(777, ge=0, le=2**31 - 1, description="the places of the entries are drawn from it")

    def unfit(self, linear: LinearShape) -> str | None:
        """See `OnLinears.unfit`."""
        most = linear.inputs * linear.outputs
        if self.n_frequency <= most:
            return None
        return f"n_frequency is {self.n_frequency}, but '{linear.name}' has {most}"

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

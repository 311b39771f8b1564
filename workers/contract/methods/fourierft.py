"""FourierFT: a few coefficients of the spectrum of the update (arXiv 2405.03003)."""

from typing import ClassVar, Literal

from pydantic import Field, StrictFloat, StrictInt

from workers.contract.methods.method import METHODS
from workers.contract.methods.spectral import MAX_FREQUENCIES, SpectralEntries


@METHODS.register
class FourierFt(SpectralEntries):
    """y = W x + scale * IFFT2(S) x, with `n_frequency` trained entries in S at places from `location_seed`."""

    type: Literal["fourierft"] = "fourierft"
    n_frequency: StrictInt = Field(1000, ge=1, le=MAX_FREQUENCIES, description="trained entries a linear")
    scaling: StrictFloat = Field(150.0, gt=0, le=1e6)

    title: ClassVar[str] = "FourierFT"
    peft_type: ClassVar[str] = "FOURIERFT"
    starts_as_base: ClassVar[bool] = False

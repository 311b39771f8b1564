"""WaveFT: a few coefficients of the wavelet transform of the update (arXiv 2505.12532)."""

from typing import ClassVar, Literal

from pydantic import Field, StrictFloat, StrictInt

from workers.contract.methods.method import METHODS
from workers.contract.methods.spectral import MAX_FREQUENCIES, SpectralEntries


@METHODS.register
class WaveFt(SpectralEntries):
    """y = W x + scale * IDWT2(S) x, with `n_frequency` trained entries in S at places from `location_seed`."""

    type: Literal["waveft"] = "waveft"
    n_frequency: StrictInt = Field(2592, ge=1, le=MAX_FREQUENCIES, description="trained entries a linear")
    scaling: StrictFloat = Field(25.0, gt=0, le=1e6)

    title: ClassVar[str] = "WaveFT"
    peft_type: ClassVar[str] = "WAVEFT"

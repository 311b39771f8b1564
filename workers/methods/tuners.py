"""Tuners of PEFT that need nothing of ours: their specs say it all, and PEFT draws their first weights."""

from typing import Final

from workers.contract.methods import (
    C3a,
    FourierFt,
    GraLora,
    Hira,
    Hra,
    LoHa,
    LoKr,
    Miss,
    Oft,
    RandLora,
    Road,
    Vera,
    WaveFt,
)
from workers.methods.method import METHODS
from workers.methods.peft import PeftMethod

TUNERS: Final = (C3a, FourierFt, GraLora, Hira, Hra, LoHa, LoKr, Miss, Oft, RandLora, Road, Vera, WaveFt)

for spec in TUNERS:
    METHODS.register(spec)(PeftMethod)

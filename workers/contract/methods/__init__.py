"""Methods: what is trained beside a frozen base. One file each: bounds, tasks, quantizations, lanes, cost.

`workers.methods` has the same names with torch. To add one, see "How to add a method" in ARCHITECTURE.md.
"""

from typing import Annotated

from workers.contract.methods.c3a import C3a
from workers.contract.methods.fourierft import FourierFt
from workers.contract.methods.gralora import GraLora
from workers.contract.methods.hira import Hira
from workers.contract.methods.hra import Hra
from workers.contract.methods.ia3 import Ia3
from workers.contract.methods.loha import LoHa
from workers.contract.methods.lokr import LoKr
from workers.contract.methods.lora import Lora
from workers.contract.methods.method import METHODS, MethodSpec
from workers.contract.methods.miss import Miss
from workers.contract.methods.oft import Oft
from workers.contract.methods.p_tuning import PTuning
from workers.contract.methods.prefix_tuning import PrefixTuning
from workers.contract.methods.prompt_tuning import PromptTuning
from workers.contract.methods.randlora import RandLora
from workers.contract.methods.road import Road
from workers.contract.methods.vera import Vera
from workers.contract.methods.waveft import WaveFt

Method = Annotated[MethodSpec, METHODS]
"""Any registered method, told apart by `type`; without one it is LoRA."""

__all__ = [
    "METHODS",
    "C3a",
    "FourierFt",
    "GraLora",
    "Hira",
    "Hra",
    "Ia3",
    "LoHa",
    "LoKr",
    "Lora",
    "Method",
    "MethodSpec",
    "Miss",
    "Oft",
    "PTuning",
    "PrefixTuning",
    "PromptTuning",
    "RandLora",
    "Road",
    "Vera",
    "WaveFt",
]

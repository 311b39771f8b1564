"""Methods: what is trained beside a frozen base. One file each: bounds, tasks, quantizations, lanes, cost.

`workers.methods` has the same names with torch. To add one, see "How to add a method" in ARCHITECTURE.md.
"""

from typing import Annotated

from workers.contract.methods.lora import Lora
from workers.contract.methods.method import METHODS, MethodSpec

Method = Annotated[MethodSpec, METHODS]
"""Any registered method, told apart by `type`; without one it is LoRA."""

__all__ = ["METHODS", "Lora", "Method", "MethodSpec"]

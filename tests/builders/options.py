"""`x_orchard` of a request, from options by name."""

from typing import Any

from workers.contract.methods import Lora
from workers.contract.spec import DataOptions, TrainingOptions

SECTIONS = {"method": Lora, "data": DataOptions, "training": TrainingOptions}


def x_orchard(**options: Any) -> dict[str, Any]:
    """Put each option in the section that defines it; unknown options stay at the top level."""
    nested: dict[str, Any] = {}
    for name, value in options.items():
        section = next((key for key, model in SECTIONS.items() if name in model.model_fields and name != "type"), None)
        if section is None:
            nested[name] = value
        else:
            nested.setdefault(section, {})[name] = value
    return nested

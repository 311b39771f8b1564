"""`python -m tests.conformance.table`: writes docs/methods.md anew from the registries."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from workers.contract.base import Quantization
from workers.contract.lanes import Lane
from workers.contract.methods import METHODS, Lora, MethodSpec

PAGE: Final = Path(__file__).parents[2] / "docs" / "methods.md"
_MARK: Final = "<!-- table -->\n"
LORA_OPTIONS: Final = {
    "with `rslora`": Lora(rslora=True),
    "with `lr_ratio` (LoRA+)": Lora(lr_ratio=16),
    "with `dora`": Lora(dora=True),
}
ORDER: Final = (Quantization.NONE, Quantization.NF4, Quantization.INT8)


def table() -> str:
    """Method by quantization, as Markdown. Every cell that names a lane is a case of `test_method.py`."""
    head = ("method", "`type`", "what it trains", *(quantization.value for quantization in ORDER))
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in _rows()]
    return "\n".join(lines) + "\n"


def page() -> str:
    """The page with a new table."""
    return PAGE.read_text().split(_MARK)[0] + _MARK + table()


def _rows() -> Iterator[tuple[str, ...]]:
    for name in METHODS:
        spec = METHODS[name]()
        yield _row(spec.title, spec)
        if name == "lora":
            yield from (_row(f"LoRA {how}", option) for how, option in LORA_OPTIONS.items())


def _row(title: str, spec: MethodSpec) -> tuple[str, ...]:
    says = re.sub(r"\s+", " ", (type(spec).__doc__ or "").strip()).rstrip(".").replace("|", "\\|")
    return title, f"`{spec.type}`", says, *(_cell(spec, quantization) for quantization in ORDER)


def _cell(spec: MethodSpec, quantization: Quantization) -> str:
    if why := spec.refuses(quantization):
        return f"refused: {why}"
    fused = Lane.FUSED in spec.lanes and spec.unfusible() is None
    return "fused, solo" if fused else "solo"


if __name__ == "__main__":
    PAGE.write_text(page())

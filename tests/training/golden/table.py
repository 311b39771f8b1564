"""Family by case, as Markdown."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.builders.families import families
from tests.training.golden.cases import CASES
from tests.training.golden.outcome import Outcome, word

Cells = Callable[[str, str], Outcome]
SHORT: Final = {"refused: dropped_by_template": "dropped", "refused: chat_template": "rejected"}
"""Words of the table for the two refusals that it explains."""


PAGE: Final = Path(__file__).parents[3] / "docs" / "chat-templates.md"
_MARKS: Final = ("<!-- table -->\n", "<!-- end of table -->\n")


def documented() -> str:
    """The table of the docs."""
    page = PAGE.read_text("utf-8")
    return page[page.index(_MARKS[0]) + len(_MARKS[0]) : page.index(_MARKS[1])]


def document(table: str) -> None:
    """Put `table` into the docs."""
    PAGE.write_text(PAGE.read_text("utf-8").replace(documented(), table), "utf-8")


def markdown(cells: Cells) -> str:
    """One table: a line for each family, a column for each case. Families of equal cells share a line."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for family in families():
        words = (word(family, cells(family, case)) for case in CASES)
        lines.setdefault(tuple(SHORT.get(text, text) for text in words), []).append(family)
    rows = [["family", *CASES], ["---"] * (len(CASES) + 1)]
    rows += [[", ".join(f"`{name}`" for name in names), *cell] for cell, names in lines.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def differing(cells: Cells, right: Cells) -> list[tuple[str, str]]:
    """The cells (family, case) that are not what is right."""
    return [(family, case) for family in families() for case in CASES if cells(family, case) != right(family, case)]

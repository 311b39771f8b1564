"""`text`: continued pre-training."""

from typing import Any, ClassVar

from workers.contract.rows import DatasetFormat
from workers.formats.conversion import Conversion
from workers.formats.shapes.shape import has_keys, ignore_others


class Text:
    """`{"text": "..."}`."""

    name: ClassVar = "text"
    format: ClassVar = DatasetFormat.TEXT
    required: ClassVar = frozenset({"text"})
    optional: ClassVar[frozenset[str]] = frozenset()
    hints: ClassVar = required

    def has(self, row: dict[str, Any]) -> bool:
        """Whether it has a text."""
        return has_keys(row, self.required)

    def convert(self, row: dict[str, Any], to: Conversion) -> dict[str, Any]:
        """The same."""
        ignore_others(row, self.required, to)
        return {"text": row["text"]} if "text" in row else {}

"""How a data set lies in its file, and what was recognised or assumed when it was read."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from workers.contract.model import Frozen

MAX_SHAPE_CHARS: Final = 32


class Container(StrEnum):
    """How a file holds its rows."""

    JSONL = "jsonl"
    JSON_ARRAY = "json_array"
    CSV = "csv"
    PARQUET = "parquet"

    @property
    def place(self) -> str:
        """What the number of a row counts: a line of text may be a row, or a part of one."""
        return "line" if self is Container.JSONL else "row"


class Compression(StrEnum):
    """How a file is compressed, as a whole."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


ShapeName = Annotated[str, Field(min_length=1, max_length=MAX_SHAPE_CHARS)]
"""One of `workers.formats.SHAPES`: the keys that rows of a file have, before they are converted to its format."""


class Note(Frozen):
    """Something that was recognised, converted, assumed or ignored, in one sentence."""

    code: str
    message: str
    line: int = Field(ge=1, description="the first line or row that it is about, counted from 1")
    rows: int = Field(1, ge=1, description="how many rows it is about")

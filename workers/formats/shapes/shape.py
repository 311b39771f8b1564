"""What every shape says of itself."""

from typing import Any, ClassVar, Protocol

from workers.contract.rows import DatasetFormat
from workers.formats.conversion import BadRow, Conversion


class Shape(Protocol):
    """The keys of rows as people have them, and how such a row becomes one of `format`."""

    name: ClassVar[str]
    """What an owner asks for with `format`. Shapes of one name differ in the types of their values."""
    format: ClassVar[DatasetFormat]
    required: ClassVar[frozenset[str]]
    """Keys that every row has. A row that has them is of this shape."""
    optional: ClassVar[frozenset[str]]
    """Other keys that mean something."""
    hints: ClassVar[frozenset[str]]
    """Keys of which one alone shows what a row was meant to be, if it has all keys of no shape."""

    def has(self, row: dict[str, Any]) -> bool:
        """Whether the row has all that identifies the shape."""

    def convert(self, row: dict[str, Any], to: Conversion) -> dict[str, Any]:
        """The row for the model of `format`, which may be the same object; what is wrong in it may stay wrong.

        Raises: BadRow.
        """


def has_keys(row: dict[str, Any], keys: frozenset[str]) -> bool:
    """Whether the row has all of them, with values."""
    return all(row.get(key) is not None for key in keys)


def ignore_others(row: dict[str, Any], known: frozenset[str], to: Conversion) -> None:
    """Note the keys that mean nothing. A key without a value is not even noted."""
    if row.keys() <= known:
        return
    for key, value in row.items():
        if key not in known and value is not None:
            to.unknown(key)


def text_of(row: dict[str, Any], key: str) -> str | None:
    """The text under `key`; None if there is none. Raises: BadRow."""
    value = row.get(key)
    if value is None or isinstance(value, str):
        return value
    raise BadRow(key, "string_type", "Input should be a valid string")


def needed_text(row: dict[str, Any], key: str) -> str:
    """The text under `key`. Raises: BadRow if there is none."""
    value = text_of(row, key)
    if value is None:
        raise BadRow(key, "missing", "Field required")
    if not value:
        raise BadRow(key, "string_too_short", "String should have at least 1 character")
    return value

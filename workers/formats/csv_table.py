"""CSV with a header: a record for each row of cells."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from workers.contract.row_check import MAX_ROW_BYTES, refuse_constant
from workers.formats.lines import lines_of
from workers.formats.record import Record, bad
from workers.formats.stream import ByteSource, Unreadable

DELIMITERS: Final = ",;\t"
STRUCTURED: Final = frozenset({"messages", "conversations", "tools", "functions", "history"})
"""Columns whose cells are JSON: no shape has text under these keys."""
_LABELS: Final = {"true": True, "1": True, "false": False, "0": False}
_NAME: Final = re.compile(r"[^\W\d][\w.-]*")


@dataclass(frozen=True)
class Header:
    """The first row of a CSV file."""

    delimiter: str
    columns: tuple[str, ...]
    """Names as rows have them: without space around them, in lower case."""


def header_of(line: str, known: frozenset[str]) -> Header | None:
    """The header that the first line of a text is; None if it is none.

    A delimiter that separates `known` columns counts first. Without any, a line of two or more plain names is a header
    whose columns nobody knows.
    """
    found: list[tuple[int, int, Header]] = []
    for delimiter in DELIMITERS:
        try:
            (cells,) = csv.reader([line], delimiter=delimiter, strict=True)
        except (csv.Error, ValueError):
            continue
        columns = tuple(cell.strip().lower() for cell in cells)
        if all(_NAME.fullmatch(column.replace(" ", "_")) for column in columns if column) and any(columns):
            found.append((len(known & set(columns)), len(columns), Header(delimiter, columns)))
    best = max(found, key=lambda each: each[:2], default=None)
    if best is None:
        return None
    matches, count, header = best
    is_plain = count > 1 and all(_NAME.fullmatch(column) for column in header.columns)
    return header if matches or is_plain else None


def records_of_csv(source: ByteSource, header: Header) -> Iterator[Record]:
    """A record for each row below the header. A cell may hold line breaks. Raises: Unreadable."""
    if twice := next((name for name in header.columns if name and header.columns.count(name) > 1), None):
        raise Unreadable("invalid_csv", f"two columns of the header are named '{twice}'")
    csv.field_size_limit(2 * MAX_ROW_BYTES)  # the bound of a row comes first
    lines = _Lines(source)
    rows = csv.reader(lines, delimiter=header.delimiter, strict=True)
    number = -1  # of the header; rows count from 1
    while True:
        number += 1
        lines.begin(number)
        try:
            cells = next(rows, None)
        except csv.Error as error:
            yield bad(max(number, 1), "invalid_csv", f"not valid CSV: {error}")
            continue
        if cells is None:
            return
        if number > 0 and cells:
            yield _record(number, header.columns, cells)
        elif not cells:
            number -= 1  # a blank line is no row


class _Lines:
    """The text's lines with their ends, which the csv module puts into cells; of one row no more than it may have."""

    def __init__(self, source: ByteSource) -> None:
        self._lines = lines_of(source)
        self._number = 1
        self._bytes = 0

    def begin(self, number: int) -> None:
        """The next line begins row `number`."""
        self._number, self._bytes = max(number, 1), 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        content = next(self._lines).content
        self._bytes += MAX_ROW_BYTES + 1 if content is None else len(content) + 1
        if content is None or self._bytes > MAX_ROW_BYTES:
            message = f"the row is longer than {MAX_ROW_BYTES:,} bytes; is a quote left open?"
            raise Unreadable("line_too_long", message, self._number)
        try:
            return content.decode("utf-8").removesuffix("\r") + "\n"
        except UnicodeDecodeError as error:
            message = (
                f"File is not UTF-8 encoded: 0x{content[error.start]:02x} in this row is no part of UTF-8 text; "
                "save the file as UTF-8"
            )
            raise Unreadable("not_utf8", message, self._number) from None


def _record(number: int, columns: Sequence[str], cells: Sequence[str]) -> Record:
    if len(cells) != len(columns):
        message = f"the row has {len(cells)} cells, but the header names {len(columns)} columns"
        return bad(number, "wrong_number_of_cells", message)
    return read_cells(number, zip(columns, cells, strict=True))


def read_cells(number: int, cells: Iterable[tuple[str, str]]) -> Record:
    """The row of text cells: JSON where only JSON makes sense, a truth value for `label`, and else the text."""
    row: dict[str, Any] = {}
    for name, cell in cells:
        if not name:
            continue  # a column without a name, as pandas writes its index
        if name in STRUCTURED:
            if not cell.strip():
                continue
            try:
                row[name] = json.loads(cell, parse_constant=refuse_constant)
            except (ValueError, RecursionError):
                return bad(number, "invalid_json", "the cell is not valid JSON, which this column holds", name)
        elif name == "label":
            row[name] = _LABELS.get(cell.strip().lower(), cell)
        else:
            row[name] = cell
    return Record(number, row=row)

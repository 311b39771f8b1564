"""Reads a file: bytes to checked rows, in order, whatever their container and shape."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from workers.contract.files import Compression, Container
from workers.contract.row_check import MAX_ROW_ISSUES, check_bounds, check_model, check_row
from workers.contract.rows import DatasetFormat, Row, RowIssue
from workers.contract.spec import DatasetRef, ExtraKeys
from workers.formats.containers import Opened, open_container
from workers.formats.conversion import BadRow, Conversion, Notes
from workers.formats.record import Record
from workers.formats.shapes import SHAPES, named, shape_of
from workers.formats.shapes.shape import Shape
from workers.formats.stream import ByteSource, Unreadable

_TOO_LARGE: Final = "checking the {} takes more memory than the server has for it; split the row, or shorten it"

_OF_ALL_ROWS: Final = frozenset({"unknown_format", "ambiguous_format"})


@dataclass(frozen=True, slots=True)
class Checked:
    """One row of the file, or what is wrong with it."""

    number: int
    """Of its line, or its place among the rows; counted from 1."""
    row: Row | None
    issues: tuple[RowIssue, ...] = ()
    is_as_sent: bool = False
    """Whether the bytes of its line say it as its model has it, without any conversion."""


class FileReading:
    """Reads one file once. What it found out of the file is complete when the rows are over."""

    def __init__(self, source: ByteSource, wanted: str | None = None, extra: ExtraKeys = ExtraKeys.IGNORE) -> None:
        """`wanted`: the shape that the owner named, one of `SHAPE_NAMES`."""
        self._source = source
        self._extra = extra
        self._among = SHAPES if wanted is None else named(wanted)
        self._shape: Shape | None = None
        self._shape_number = 0
        self._opened: Opened | None = None
        self.container = Container.JSONL
        self.compression = Compression.NONE
        self.notes = Notes()

    @classmethod
    def of(cls, source: ByteSource, ref: DatasetRef, extra: ExtraKeys) -> "FileReading":
        """A reading that converts as the upload of the file did."""
        return cls(source, ref.shape or ref.format.value, extra)

    @property
    def format(self) -> DatasetFormat | None:
        """Of the rows, once there was one of a known shape."""
        return None if self._shape is None else self._shape.format

    @property
    def shape(self) -> str | None:
        """Of the rows as they were sent."""
        return None if self._shape is None else self._shape.name

    def rows(self) -> Iterator[Checked]:
        """Every row that is not blank. What cannot be read at all is the last one's issue. Raises: OSError."""
        number = 0
        try:
            self._opened = open_container(self._source, self.notes)
            self.container, self.compression = self._opened.container, self._opened.compression
            for record in self._opened.records:
                number = record.number
                checked = self._checked(record)
                if checked is not None:
                    yield checked
                    if self._is_hopeless(checked):
                        return
        except Unreadable as error:
            issue = error.issue(number + 1)
            yield Checked(issue.line, None, (issue,))
        except MemoryError:
            yield self._too_large(number + 1)

    def _is_hopeless(self, checked: Checked) -> bool:
        """Whether all rows have the keys that nobody knows, or that fit two shapes: those of a table."""
        is_table = self.container in {Container.CSV, Container.PARQUET}
        return is_table and self._shape is None and any(issue.code in _OF_ALL_ROWS for issue in checked.issues)

    def _checked(self, record: Record) -> Checked | None:
        """The row, or what is wrong with it. None: it is blank."""
        try:
            row = record.parsed()
            if row is None:
                return None
            if isinstance(row, RowIssue):
                return Checked(record.number, None, (row,))
            return self._converted(record, row)
        except MemoryError:
            return self._too_large(record.number)

    def _converted(self, record: Record, row: dict[str, Any]) -> Checked:
        number, content = record.number, record.content
        if (excess := check_bounds(number, row, content)) is not None:
            return Checked(number, None, (excess,))
        to = Conversion(number, self._extra)
        try:
            shape = self._shape_of(row, number)
            converted = shape.convert(row, to)
        except BadRow as error:
            issue = RowIssue(line=number, field=error.field, code=error.code, message=str(error))
            return Checked(number, None, (issue, *to.issues)[:MAX_ROW_ISSUES])
        is_as_it_was = converted == row
        if is_as_it_was:
            checked = check_model(number, shape.format, row)
        else:
            checked = check_row(number, shape.format, converted, content)
        if isinstance(checked, list) or to.issues:
            found = [_placed(issue, to) for issue in checked] if isinstance(checked, list) else []
            return Checked(number, None, (*found, *to.issues)[:MAX_ROW_ISSUES])
        self.notes.add_all(to, number)
        return Checked(number, checked, is_as_sent=is_as_it_was and self.container is Container.JSONL)

    def _shape_of(self, row: dict[str, Any], number: int) -> Shape:
        """Of the row, which must be that of the file. Raises: BadRow."""
        found = shape_of(row, self._among, self._shape)
        if self._shape is None:
            self._shape, self._shape_number = found, number
        elif found is not self._shape:
            raise BadRow(None, "mixed_formats", self._mixed(found))
        return found

    def _mixed(self, found: Shape) -> str:
        known = self._shape
        names = (known.name, found.name) if known else ("", found.name)
        if names[0] == names[1]:
            return f"the rows of a file must be written alike, but {self._first} has another form of {names[0]}"
        return f"Found multiple dataset formats in the input file. Got {names[0]} on {self._first} and {names[1]} here."

    @property
    def _first(self) -> str:
        return f"{self.container.place} {self._shape_number}"

    def _too_large(self, number: int) -> Checked:
        message = _TOO_LARGE.format(self.container.place)
        return Checked(number, None, (RowIssue(line=number, code="row_too_large", message=message),))


def _placed(issue: RowIssue, to: Conversion) -> RowIssue:
    """The issue, of the field as it was sent."""
    return issue.model_copy(update={"field": to.origin(issue.field)})

"""A record: what a container gives for one row, before its shape is known."""

from typing import Any, NamedTuple

from workers.contract.row_check import MAX_ROW_BYTES, parse_row
from workers.contract.rows import RowIssue


class Record(NamedTuple):
    """One row of a file."""

    number: int
    """Of its line, or its place among the rows; counted from 1."""
    content: bytes | None = None
    """Its JSON; None: it never was JSON."""
    row: dict[str, Any] | None = None
    """None: `content` is still to be parsed."""
    issue: RowIssue | None = None
    """Why there is no row."""

    def parsed(self) -> dict[str, Any] | RowIssue | None:
        """The row, or what is wrong with it. None: it is blank."""
        if self.issue is not None:
            return self.issue
        if self.row is not None:
            return self.row
        content = self.content or b""
        return parse_row(self.number, content) if content.strip() else None


def bad(number: int, code: str, message: str, field: str | None = None) -> Record:
    """A record that cannot be read."""
    return Record(number, issue=RowIssue(line=number, field=field, code=code, message=message))


def too_long(number: int, place: str) -> Record:
    """A record that is not looked at."""
    return bad(number, "line_too_long", f"the {place} is longer than {MAX_ROW_BYTES:,} bytes")

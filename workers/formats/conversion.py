"""What happens to one row while its shape converts it, and the notes of a file."""

from collections.abc import Iterator
from typing import Final

from workers.contract.files import Note
from workers.contract.issues import storable_text
from workers.contract.row_check import MAX_ROW_ISSUES
from workers.contract.rows import RowIssue
from workers.contract.spec import ExtraKeys

MAX_NOTES: Final = 50
"""Kinds of notes of one file."""
_MAX_CHARS: Final = 300


class BadRow(Exception):
    """The row cannot be converted. `field`: in the row as it was sent."""

    def __init__(self, field: str | None, code: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.code = code


class Conversion:
    """Collects, for one row, what was assumed, what was ignored, and which field each converted one came from."""

    def __init__(self, line: int, extra: ExtraKeys = ExtraKeys.IGNORE) -> None:
        self._line = line
        self._extra = extra
        self._origins: dict[str, str] = {}
        self.notes: dict[str, tuple[str, str]] = {}
        """Kind -> code and message."""
        self.issues: list[RowIssue] = []

    def note(self, code: str, message: str, kind: str | None = None) -> None:
        """Tell something of the row; once a `kind`."""
        self.notes.setdefault(kind or code, (code, message))

    def unknown(self, path: str) -> None:
        """A key that means nothing here."""
        if self._extra is ExtraKeys.IGNORE:
            kind = ".".join("*" if part.isdigit() else part for part in path.split("."))
            self.note("extra_key", f"the key {kind} means nothing here and is ignored", f"extra {kind}")
        elif len(self.issues) < MAX_ROW_ISSUES:
            message = 'Extra inputs are not permitted; remove the key, or set x_orchard.data.extra to "ignore"'
            self.issues.append(RowIssue(line=self._line, field=path, code="extra_forbidden", message=message))

    def moved(self, path: str, origin: str) -> None:
        """The converted row has at `path` what the row as sent has at `origin`."""
        self._origins[path] = origin

    def origin(self, field: str | None) -> str | None:
        """Where the row as sent has what the converted row has at `field`."""
        if field is None or not self._origins:
            return field
        parts = field.split(".")
        for length in range(len(parts), 0, -1):
            origin = self._origins.get(".".join(parts[:length]))
            if origin is not None:
                return ".".join([origin, *parts[length:]])
        return field


class Notes:
    """The notes of a file, each once, with the number of rows that it is about."""

    def __init__(self) -> None:
        self._found: dict[str, Note] = {}
        self._beyond = False

    def add(self, code: str, message: str, line: int = 1, kind: str | None = None) -> None:
        """Tell something of the row on `line`."""
        key = kind or code
        known = self._found.get(key)
        if known is not None:
            self._found[key] = known.model_copy(update={"rows": known.rows + 1})
        elif len(self._found) < MAX_NOTES:
            self._found[key] = Note(code=code, message=storable_text(message, _MAX_CHARS), line=line)
        else:
            self._beyond = True

    def add_all(self, conversion: Conversion, line: int) -> None:
        """Those of a converted row."""
        for kind, (code, message) in conversion.notes.items():
            self.add(code, message, line, kind)

    def __iter__(self) -> Iterator[Note]:
        yield from self._found.values()
        if self._beyond:
            yield Note(code="more_notes", message=f"there is more to note than these {MAX_NOTES}", line=1)

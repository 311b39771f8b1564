"""One JSON array of rows: its items, one at a time, in memory that one item bounds."""

import codecs
import json
from collections.abc import Iterator
from typing import Any, Final

from workers.contract.row_check import MAX_ROW_BYTES, refuse_constant
from workers.formats.record import Record, bad, too_long
from workers.formats.stream import CHUNK_BYTES, ByteSource, Unreadable

_SPACE: Final = " \t\r\n"
_UNSURE_CHARS: Final = 16
"""An error so near to the end of what was read may be an item that was not read whole: a literal, an escape."""


def records_of_array(source: ByteSource) -> Iterator[Record]:
    """A record for each item of the array. It ends at the first place that is not JSON, with an issue.

    Raises: Unreadable.
    """
    return _Items(source).records()


class _Items:
    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._decode = codecs.getincrementaldecoder("utf-8")("strict").decode
        self._decoder = json.JSONDecoder(parse_constant=refuse_constant)
        self._text = ""
        self._at = 0
        self._ended = False
        self._number = 1
        self._lost = False  # where the next item begins is not known
        self._lines_before = 1  # the line of the file on which `_text` begins

    def records(self) -> Iterator[Record]:
        self._expect("[")
        self._at += 1
        if self._next_char() == "]":
            self._at += 1
        else:
            while True:
                yield self._item()
                if self._lost:
                    return
                if self._next_char() == "]":
                    self._at += 1
                    break
                if self._next_char() != ",":
                    yield self._not_json("expected ',' or ']' after the row")
                    return
                self._at += 1
                self._number += 1
        if self._next_char():
            yield self._not_json("there is more text after the end of the array")

    def _item(self) -> Record:
        self._next_char()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                is_cut, offset = self._is_cut(error), error.pos - self._at
                if is_cut and self._may_read_more():
                    continue
                if is_cut and not self._ended:
                    self._lost = True
                    return too_long(self._number, "row")
                return self._not_json(error.msg, offset)
            except (ValueError, RecursionError) as error:
                deep = isinstance(error, RecursionError)
                return self._not_json("nested too deeply" if deep else str(error).partition(";")[0])
            if end == len(self._text) and self._may_read_more():
                continue  # a number may go on
            return self._record(value, end)

    def _record(self, value: Any, end: int) -> Record:
        content = self._text[self._at : end].encode("utf-8")
        self._at = end
        if len(content) > MAX_ROW_BYTES:
            return too_long(self._number, "row")
        if not isinstance(value, dict):
            return bad(self._number, "not_an_object", f"expected a JSON object, found a JSON {type(value).__name__}")
        return Record(self._number, content, value)

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        return error.msg.startswith("Unterminated string") or error.pos > len(self._text) - _UNSURE_CHARS

    def _may_read_more(self) -> bool:
        """Read as much again as the item has by now, so that decoding it again and again stays linear."""
        held = len(self._text) - self._at
        if self._ended or held > MAX_ROW_BYTES:
            return False
        return self._read(max(held, CHUNK_BYTES))

    def _read(self, size: int) -> bool:
        """Read on. False: there is no more."""
        self._lines_before += self._text.count("\n", 0, self._at)
        parts, got = [self._text[self._at :]], 0
        while got < size and not self._ended:
            chunk = self._source.read(CHUNK_BYTES)
            self._ended = not chunk
            try:
                part = self._decode(chunk, self._ended)
            except UnicodeDecodeError as error:
                byte = error.object[error.start]
                message = f"File is not UTF-8 encoded: 0x{byte:02x} near this row is no part of UTF-8 text"
                raise Unreadable("not_utf8", message, self._number) from None
            parts.append(part)
            got += len(part)
        self._text, self._at = "".join(parts), 0
        return got > 0

    def _next_char(self) -> str:
        """The next character that is no space, which is then at `_at`. Empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read(CHUNK_BYTES):
                return ""

    def _expect(self, char: str) -> None:
        if self._next_char() != char:
            raise Unreadable("invalid_json", f"not valid JSON: expected '{char}'")

    def _not_json(self, reason: str, offset: int = 0) -> Record:
        """`offset`: of the place in the item."""
        self._lost = True
        at = self._at + offset
        line = self._lines_before + self._text.count("\n", 0, at)
        column = at - self._text.rfind("\n", 0, at)
        if at >= len(self._text) and self._ended:
            reason = "the file ends within the array; is it cut off?"
        return bad(self._number, "invalid_json", f"not valid JSON: {reason} (line {line:,}, column {column:,})")

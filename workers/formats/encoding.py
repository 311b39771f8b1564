"""Text in UTF-8, whatever byte order mark it begins with."""

import codecs
from collections.abc import Callable
from typing import Final

from workers.formats.stream import ByteSource, Peeked, Unreadable

Told = Callable[[str, str], None]
"""Code and message of a note."""
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),  # before UTF-16's mark, with which it begins
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)


def utf8(source: Peeked, tell: Told) -> ByteSource:
    """The text of `source` in UTF-8 without a mark. What comes of UTF-16 and UTF-32 is checked; UTF-8 is not yet.

    Raises: Unreadable, also while it is read.
    """
    head = source.head
    for mark, codec, name in _MARKS:
        if head.startswith(mark):
            tell("encoding", f"the text is {name}, as its byte order mark says")
            return _Transcoded(source, codec, name)
    if head[1:2] == b"\0" and head[:1].strip():
        message = "the text looks like UTF-16 without a byte order mark; save it as UTF-8, or with the mark"
        raise Unreadable("not_utf8", message)
    if head.startswith(codecs.BOM_UTF8):
        source.read(len(codecs.BOM_UTF8))
    return source


class _Transcoded:
    def __init__(self, source: ByteSource, codec: str, name: str) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder(codec)("strict")
        self._name = name
        self._ended = False

    def read(self, size: int, /) -> bytes:
        while not self._ended:
            chunk = self._source.read(max(size // 2, 1))  # two bytes may become three
            self._ended = not chunk
            try:
                text = self._decoder.decode(chunk, final=self._ended)
            except UnicodeDecodeError:
                code = f"not_{self._name.lower().replace('-', '')}"
                raise Unreadable(code, f"the text begins as {self._name} but is damaged or cut off") from None
            if text:
                return text.encode("utf-8")
        return b""

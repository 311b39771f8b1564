"""Characters that act on a reader's screen instead of being read: control characters, and those that change the
direction of text (Unicode Technical Report 36; "Trojan Source"). Half a surrogate pair, too, which no output can hold.
"""

import re
from typing import Final

BIDI_OVERRIDES: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Embeddings, overrides and isolates: they reorder what follows. No name needs them."""
_BIDI_MARKS: Final = "\u061c\u200e\u200f"  # names in Arabic and Hebrew may hold them
_BREAKS: Final = "\u2028\u2029"
CONTROLS: Final = re.compile(f"[\x00-\x1f\x7f-\x9f{_BREAKS}\ud800-\udfff]")
"""C0, DEL and C1, line and paragraph separators, half a pair."""
UNREADABLE: Final = re.compile(f"{CONTROLS.pattern[:-1]}{_BIDI_MARKS}{''.join(sorted(BIDI_OVERRIDES))}]")
"""All that `escaped` replaces."""


_SHORT: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def escaped(text: str) -> str:
    r"""The text on one line, with every such character as `\n`, `\xNN` or `\uNNNN`. No terminal obeys it."""
    return UNREADABLE.sub(_spelled, text)


def escaped_lines(text: str) -> str:
    """The same, but for the line breaks of the text."""
    return "\n".join(map(escaped, text.split("\n")))


def json_escaped(document: str) -> str:
    r"""A JSON document with such characters of its strings as `\uNNNN`: the same values. Its line breaks stay."""
    return UNREADABLE.sub(lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", document)


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    return _SHORT.get(match[0]) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")

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


def escaped(text: str) -> str:
    r"""The text with every such character as `\xNN` or `\uNNNN`, so that a terminal shows it and does not obey it."""
    return UNREADABLE.sub(_spelled, text)


def json_escaped(document: str) -> str:
    r"""A JSON document with such characters of its strings as `\uNNNN`: the same values. Its line breaks stay."""
    return UNREADABLE.sub(lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", document)


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

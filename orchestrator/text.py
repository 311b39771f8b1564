"""Validates external strings that go into the database, names and logs."""

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator

_SURROGATE = "Cs"  # half of a pair: JSON can spell it, UTF-8 cannot
_CONTROLS = frozenset({"Cc", "Zl", "Zp", _SURROGATE})


def _storable(value: str) -> str:
    if bad := next((c for c in value if c == "\0" or unicodedata.category(c) == _SURROGATE), None):
        raise ValueError(f"must not contain the character U+{ord(bad):04X}")
    return value


def _no_control(value: str) -> str:
    if bad := next((c for c in value if unicodedata.category(c) in _CONTROLS), None):
        raise ValueError(f"must not contain the control character U+{ord(bad):04X}")
    return value


def matching(pattern: str, words: str) -> AfterValidator:
    """The whole text matches the regular expression `pattern`; `words` describes it for error messages."""
    expression = re.compile(pattern)

    def check(value: str) -> str:
        if not expression.fullmatch(value):
            raise ValueError(f"must be {words}")
        return value

    return AfterValidator(check)


Text = Annotated[str, AfterValidator(_storable)]
"""Text that PostgreSQL and UTF-8 responses can hold: neither U+0000 nor half a surrogate pair."""

SingleLine = Annotated[str, AfterValidator(_no_control)]
"""Text of one line without control characters."""

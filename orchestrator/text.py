"""Validates external strings that go into the database, names and logs."""

import re
from typing import Annotated

from pydantic import AfterValidator

from orchestrator.characters import BIDI_OVERRIDES, CONTROLS

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # half of a pair: JSON can spell it, UTF-8 cannot


def _storable(value: str) -> str:
    if bad := _UNSTORABLE.search(value):
        raise ValueError(f"must not contain the character U+{ord(bad[0]):04X}")
    return value


def _no_control(value: str) -> str:
    if bad := CONTROLS.search(value):
        raise ValueError(f"must not contain the control character U+{ord(bad[0]):04X}")
    if turning := next((c for c in value if c in BIDI_OVERRIDES), None):
        raise ValueError(f"must not contain the character U+{ord(turning):04X}, which changes the direction of text")
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
"""Text of one line without control characters and characters that change its direction."""

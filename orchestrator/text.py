"""Strings from outside that end up in the database, in names and in logs."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain the character U+0000")
    return value


def _no_control(value: str) -> str:
    if bad := next((c for c in value if unicodedata.category(c) in {"Cc", "Zl", "Zp"}), None):
        raise ValueError(f"must not contain the control character U+{ord(bad):04X}")
    return value


Text = Annotated[str, AfterValidator(_no_nul)]
"""Any text that PostgreSQL can store: it refuses U+0000."""

Line = Annotated[str, AfterValidator(_no_control)]
"""Text of one line without control characters."""

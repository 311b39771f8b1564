"""`Check`: one finding of `orchard doctor`."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """The result of a check. A note is not a failure: only some uses need the thing."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True)
class Check:
    """What was checked, what was found and, if that is bad, what to do."""

    name: str
    verdict: Verdict
    found: str
    todo: str = ""

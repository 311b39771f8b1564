"""`Check`: one finding of `orchard doctor`."""

from dataclasses import dataclass
from enum import StrEnum


class CheckResult(StrEnum):
    """How a check ended. A note is no failure: the thing is needed for some uses only."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True)
class Check:
    """What was looked at, how it is, and when that is bad, what to do."""

    name: str
    verdict: CheckResult
    found: str
    todo: str = ""

"""Decides which part of an attempt's usage was lost and is not billed. Pure."""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Final

from workers.contract.reports import ExitClass

SERVICE_FAULT: Final = frozenset({ExitClass.INFRA, ExitClass.PREEMPTED})
"""Ends that the tenant did not cause. A preempted seat saves first, so it normally loses nothing."""


@dataclass(frozen=True)
class Lost:
    """The lost part of one ledger row."""

    tokens: int
    supervised_tokens: int
    seat_seconds: float


def lost_share(step_before: int, step: int, committed: int | None) -> Fraction:
    """The share, 0 to 1, of a minute from `step_before` to `step` that lies beyond the checkpoint at `committed`.

    None: the attempt committed no checkpoint, so all of it is lost. The minute of a checkpoint is divided by steps.
    Steps of one job have similar token counts, so the error is bounded by their differences within that minute. Tokens
    are rounded in the tenant's favor.
    """
    if committed is None:
        return Fraction(1)
    if step <= committed:
        return Fraction(0)
    if step_before >= committed:
        return Fraction(1)
    return Fraction(step - committed, step - step_before)


def lost(share: Fraction, tokens: int, supervised_tokens: int, seat_seconds: float) -> Lost:
    """`share` of a row, tokens rounded up."""
    return Lost(ceil(tokens * share), ceil(supervised_tokens * share), seat_seconds * float(share))

"""What of an attempt was in vain, and hence is not billed: a pure decision."""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Final

from workers.contract.reports import ExitClass

SERVICE_FAULT: Final = frozenset({ExitClass.INFRA, ExitClass.PREEMPTED})
"""Ends that are not the tenant's doing. A preempted seat saves first, so that normally nothing of it is lost."""


@dataclass(frozen=True)
class Lost:
    """Parts of one row of the ledger."""

    tokens: int
    supervised_tokens: int
    seat_seconds: float


def lost_share(step_before: int, step: int, committed: int | None) -> Fraction:
    """Which part, 0 to 1, of a minute that led from `step_before` to `step` lies beyond the checkpoint `committed`.

    None: the attempt committed no checkpoint, so nothing of it survives. The minute in which a checkpoint was taken is
    divided by steps: within one job they are alike in tokens, so the error stays below what one minute's steps differ
    by, and is rounded in the tenant's favour.
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

"""Which checkpoints of a job nobody needs any more: a pure decision."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Candidate:
    """A committed checkpoint, as far as the decision rests on it."""

    seq: int
    step: int
    verified_at: datetime | None = None
    valid_loss: float | None = None
    shared: bool = False


def superseded(committed: Sequence[Candidate], keep: int) -> list[int]:
    """The `seq` of each checkpoint that may go, oldest first.

    Kept are the newest `keep` in the order in which they are offered for resuming, the one verified last, which is also
    the one a running attempt resumed from, the one of lowest validation loss, and those shared with other tenants.
    """
    newest_first = sorted(committed, key=lambda one: (one.step, one.seq), reverse=True)
    kept = {one.seq for one in newest_first[:keep]} | {one.seq for one in committed if one.shared}
    if verified := [one for one in committed if one.verified_at is not None]:
        kept.add(max(verified, key=lambda one: (one.verified_at, one.seq)).seq)
    if scored := [one for one in newest_first if one.valid_loss is not None]:
        kept.add(min(scored, key=lambda one: one.valid_loss or 0.0).seq)
    return [one.seq for one in reversed(newest_first) if one.seq not in kept]

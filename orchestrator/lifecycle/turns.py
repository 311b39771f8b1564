"""Whose turn it is for a seat: the tenant with the fewest, then the one that was given its last one longest ago.

Priority is a tenant's own: it orders that tenant's jobs and says nothing about anybody else's.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from orchestrator.db.job_tables import AttemptRow
from orchestrator.db.tables import TenantRow

HEADS: Final = 64
"""Jobs of one tenant for one base that a plan looks at: those behind cannot go before them."""


@dataclass(frozen=True, order=True)
class TenantShare:
    """A tenant among those who wait; the smallest has the next turn."""

    seats: int
    """Attempts that hold one now."""
    served_s: float
    """Unix seconds: when its newest attempt was given a seat; 0: never."""
    oldest: int
    """Place in the order of submission of its first waiting job."""

    def with_seat(self) -> "TenantShare":
        """After one more turn."""
        return replace(self, seats=self.seats + 1)


def load_shares(session: Session, oldest: Mapping[str, int]) -> dict[str, TenantShare]:
    """The share of every tenant in `oldest`, which names the first waiting job of each."""
    # Counted here: to group, SQLite would read every attempt that there ever was in the order of its tenants.
    held = Counter(session.scalars(select(AttemptRow.tenant_id).where(AttemptRow.ended_at.is_(None))))
    newest = select(func.max(AttemptRow.started_at)).where(AttemptRow.tenant_id == TenantRow.id).scalar_subquery()
    served = session.execute(select(TenantRow.id, newest).where(TenantRow.id.in_(oldest)))
    return {
        tenant_id: TenantShare(held[tenant_id], at.timestamp() if at else 0.0, oldest[tenant_id])
        for tenant_id, at in served
    }


def turns_before(mine: TenantShare, own_ahead: int, others: Iterable[tuple[TenantShare, int]]) -> int:
    """How many jobs of other tenants have a turn before mine, if `own_ahead` of my tenant's go first.

    `others`: the share of each other tenant, and how many of its jobs wait.
    """
    count = 0
    for other, waiting in others:
        level = mine.seats + own_ahead - other.seats
        wins_ties = (other.served_s, other.oldest) < (mine.served_s, mine.oldest)
        count += min(waiting, max(level + wins_ties, 0))
    return count

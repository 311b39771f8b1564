"""Rounds over all tenants for steps that list storage, which is too slow for every pass."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select

from orchestrator.db.database import Database
from orchestrator.db.tables import TenantRow

A_PASS: Final = 20
PAUSE: Final = timedelta(hours=1)


@dataclass
class TenantRounds:
    """Hands out tenants by id, a few a pass; after the last one it rests. A new leader begins a new round."""

    db: Database
    a_pass: int = A_PASS
    _after: str = ""
    _rests_until: datetime | None = None

    def next(self, now: datetime) -> list[str]:
        """The ids of the tenants whose turn it is; empty while it rests."""
        if self._rests_until is not None and now < self._rests_until:
            return []
        query = select(TenantRow.id).where(TenantRow.id > self._after).order_by(TenantRow.id).limit(self.a_pass)
        with self.db.read() as session:
            turn = list(session.scalars(query))
        over = len(turn) < self.a_pass
        self._after = "" if over else turn[-1]
        self._rests_until = now + PAUSE if over else None
        return turn

"""Retention of finished deliveries: shown for a month, kept for a day more. The job's row itself records its end."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, select

from orchestrator.db.database import Database
from orchestrator.db.effect_tables import WebhookDeliveryRow
from orchestrator.steps.step import Counts

SHOWN_S: Final = 30 * 86_400.0
KEPT_S: Final = SHOWN_S + 86_400.0  # a day longer, so that a list that was read up to one can be continued
BATCH: Final = 1_000  # per transaction


def forget_deliveries(db: Database, now: datetime) -> int:
    """Remove finished deliveries created more than `KEPT_S` ago, oldest first. Returns how many.

    `seq` increases with time and no delivery is pending that long, so the lowest one shows whether any is due.
    """
    oldest = select(WebhookDeliveryRow.seq, WebhookDeliveryRow.state, WebhookDeliveryRow.created_at)
    with db.read() as session:
        rows = session.execute(oldest.order_by(WebhookDeliveryRow.seq).limit(BATCH)).all()
    limit = now - timedelta(seconds=KEPT_S)
    numbers = [row.seq for row in rows if row.created_at < limit and row.state != "pending"]
    if numbers:
        with db.write() as session:
            session.execute(delete(WebhookDeliveryRow).where(WebhookDeliveryRow.seq.in_(numbers)))
    return len(numbers)


@dataclass(frozen=True)
class ExpireDeliveries:
    """Drops finished webhook deliveries after a month."""

    db: Database

    def run_once(self, now: datetime) -> Counts:
        """Drop older deliveries."""
        return Counts(forgotten=gone) if (gone := forget_deliveries(self.db, now)) else Counts()

"""Forgetting: deliveries that were over long ago. That a job has ended is in the job; this was about telling."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, select

from orchestrator.db.database import Database
from orchestrator.db.effect_tables import WebhookDeliveryRow
from orchestrator.steps.step import Counts

KEPT_S: Final = 30 * 86_400.0
BATCH: Final = 1_000  # of one transaction


def forget_deliveries(db: Database, now: datetime) -> int:
    """Remove deliveries that began more than 30 days ago and are over, of the oldest there are. Returns how many.

    Numbers grow with time, and none is pending for so long: a look at the lowest says whether there is something to do.
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
    """Deliveries of webhooks that are over are kept for a month."""

    db: Database

    def run_once(self, now: datetime) -> Counts:
        """Drop what is older."""
        return Counts(forgotten=gone) if (gone := forget_deliveries(self.db, now)) else Counts()

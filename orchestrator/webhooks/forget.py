"""Forgetting: deliveries that were over long ago. That a job has ended is in the job; this was about telling."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, select

from orchestrator.db.database import Database
from orchestrator.db.effect_tables import WebhookDeliveryRow

KEPT_S: Final = 30 * 86_400.0
BATCH: Final = 1_000  # of one transaction


def forget_deliveries(db: Database, now: datetime) -> int:
    """Remove a batch of deliveries that began more than 30 days ago and are over. Returns how many."""
    old = WebhookDeliveryRow.created_at < now - timedelta(seconds=KEPT_S)
    over = select(WebhookDeliveryRow.seq).where(WebhookDeliveryRow.state != "pending", old).limit(BATCH)
    with db.read() as session:
        numbers = session.scalars(over).all()
    if numbers:
        with db.write() as session:
            session.execute(delete(WebhookDeliveryRow).where(WebhookDeliveryRow.seq.in_(numbers)))
    return len(numbers)

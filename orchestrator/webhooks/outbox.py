"""The outbox: deliveries are written in the transaction that ends the job."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from orchestrator.db.effect_tables import WebhookDeliveryRow, WebhookEndpointRow
from orchestrator.db.states import JobState
from orchestrator.ids import new_id
from orchestrator.webhooks.events import EVENT_OF


def enqueue(session: Session, tenant_id: str, job_id: str, ended_as: JobState, now: datetime) -> int:
    """Write one delivery for every endpoint of the tenant that subscribes to this end. Returns how many."""
    event_type, event_id = EVENT_OF[ended_as], new_id("evt_")
    listening = select(WebhookEndpointRow.id, WebhookEndpointRow.event_types).where(
        WebhookEndpointRow.tenant_id == tenant_id,
        WebhookEndpointRow.deleted_at.is_(None),
        WebhookEndpointRow.disabled_at.is_(None),
    )
    rows = [
        WebhookDeliveryRow(
            id=new_id("wh_"),
            tenant_id=tenant_id,
            endpoint_id=endpoint_id,
            job_id=job_id,
            event_id=event_id,
            event_type=event_type,
            created_at=now,
            state="pending",
            next_try_at=now,
        )
        for endpoint_id, wanted in session.execute(listening.order_by(WebhookEndpointRow.seq)).all()
        if event_type in wanted
    ]
    session.add_all(rows)
    return len(rows)

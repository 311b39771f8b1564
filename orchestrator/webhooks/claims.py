"""Claims due deliveries and settles claims by compare-and-set on the number of attempts."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, literal_column, or_, select, update
from sqlalchemy.orm import Session

from orchestrator.db.database import Database
from orchestrator.db.effect_tables import WebhookDeliveryRow, WebhookEndpointRow
from orchestrator.webhooks.delivery_policy import Delivered, DeliveryDecision, Failed, Retry
from orchestrator.webhooks.lookups import LOOKUPS_PER_TENANT
from orchestrator.webhooks.send import TIMEOUT_S, DeliveryResponse

BATCH: Final = 64  # sent at once
PER_TENANT: Final = 8  # per batch, so that one tenant's backlog or slow receivers do not delay the others
LEASE_S: Final = 60.0
"""Duration of a claim. LEASE_S >= TIMEOUT_S x 3: a batch is sent at once and settled right after."""
assert LEASE_S >= TIMEOUT_S * 3  # noqa: S101  # of two constants
assert PER_TENANT <= LOOKUPS_PER_TENANT  # noqa: S101  # a batch alone never exceeds its tenant's lookups
GONE_REASON: Final = "The receiver answered 410 Gone."


@dataclass(frozen=True)
class Claim:
    """A claimed delivery. `secrets` are sealed, newest first; none: the endpoint was deleted or disabled."""

    id: str
    tenant_id: str
    endpoint_id: str
    url: str
    secrets: tuple[str, ...]
    event_id: str
    event_type: str
    job_id: str
    created_at: datetime
    attempts: int
    """Including this one."""


def claim_due(db: Database, now: datetime) -> list[Claim]:
    """Claim due deliveries in turns: every tenant's most overdue one, then everybody's second, up to `PER_TENANT`."""
    with db.read() as session:
        due = session.execute(_due(now)).all()
    if not due:
        return []
    with db.write() as session:
        return [_claim(row, endpoint, now) for row, endpoint in due if _won(session, row, now)]


def settle(session: Session, claim: Claim, decision: DeliveryDecision, answer: DeliveryResponse, now: datetime) -> bool:
    """Write the result of a claim. False: its lease expired and another sender has claimed it since."""
    mine = (WebhookDeliveryRow.id == claim.id, WebhookDeliveryRow.attempts == claim.attempts)
    columns = {
        "lease_until": None,
        "last_try_at": now,
        "last_status_code": answer.status,
        "last_error": answer.error,
        **_standing(decision, now),
    }
    written = session.execute(
        update(WebhookDeliveryRow)
        .where(*mine, WebhookDeliveryRow.state == "pending")
        .values(columns)
        .returning(WebhookDeliveryRow.id)
    )
    if written.first() is None:
        return False
    if isinstance(decision, Failed) and decision.disables:
        open_still = (WebhookEndpointRow.id == claim.endpoint_id, WebhookEndpointRow.disabled_at.is_(None))
        disabled = {"disabled_at": now, "updated_at": now, "disabled_reason": GONE_REASON}
        session.execute(update(WebhookEndpointRow).where(*open_still).values(disabled))
    return True


def _standing(decision: DeliveryDecision, now: datetime) -> dict[str, Any]:
    match decision:
        case Delivered():
            return {"state": "delivered", "delivered_at": now, "next_try_at": None}
        case Retry(at):
            return {"next_try_at": at}
        case Failed():
            return {"state": "failed", "next_try_at": None}


def _due(now: datetime) -> Any:
    """Rows with their endpoints; within each tenant, longest overdue first."""
    order = (WebhookDeliveryRow.next_try_at, WebhookDeliveryRow.seq)
    place = func.row_number().over(partition_by=WebhookDeliveryRow.tenant_id, order_by=order).label("place")
    free = or_(WebhookDeliveryRow.lease_until.is_(None), WebhookDeliveryRow.lease_until <= now)
    pending = WebhookDeliveryRow.state == literal_column("'pending'")  # a bound parameter would miss the partial index
    waiting = (pending, WebhookDeliveryRow.next_try_at <= now, free)
    ranked = select(WebhookDeliveryRow.seq, place).where(*waiting).subquery()
    return (
        select(WebhookDeliveryRow, WebhookEndpointRow)
        .join(ranked, ranked.c.seq == WebhookDeliveryRow.seq)
        .join(WebhookEndpointRow, WebhookEndpointRow.id == WebhookDeliveryRow.endpoint_id)
        .where(ranked.c.place <= PER_TENANT)
        .order_by(ranked.c.place, *order)
        .limit(BATCH)
    )


def _won(session: Session, row: WebhookDeliveryRow, now: datetime) -> bool:
    as_seen = (WebhookDeliveryRow.id == row.id, WebhookDeliveryRow.attempts == row.attempts)
    claimed = {"attempts": row.attempts + 1, "lease_until": now + timedelta(seconds=LEASE_S)}
    written = session.execute(
        update(WebhookDeliveryRow)
        .where(*as_seen, WebhookDeliveryRow.state == "pending")
        .values(claimed)
        .returning(WebhookDeliveryRow.id)
    )
    return written.first() is not None


def _claim(row: WebhookDeliveryRow, endpoint: WebhookEndpointRow, now: datetime) -> Claim:
    listening = endpoint.deleted_at is None and endpoint.disabled_at is None
    old_counts = endpoint.old_secret_until is not None and now < endpoint.old_secret_until
    secrets = (endpoint.secret, endpoint.old_secret if old_counts else None) if listening else ()
    return Claim(
        id=row.id,
        tenant_id=row.tenant_id,
        endpoint_id=row.endpoint_id,
        url=endpoint.url,
        secrets=tuple(secret for secret in secrets if secret is not None),
        event_id=row.event_id,
        event_type=row.event_type,
        job_id=row.job_id,
        created_at=row.created_at,
        attempts=row.attempts + 1,
    )

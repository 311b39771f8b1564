"""Creates, updates and lists a tenant's webhook endpoints."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from orchestrator.db.database import Database
from orchestrator.db.effect_tables import WebhookDeliveryRow, WebhookEndpointRow
from orchestrator.errors import InvalidRequest, NotFound, QuotaExceeded
from orchestrator.ids import new_id
from orchestrator.paging import Page, PageWindow, page
from orchestrator.tenancy.lock import lock_tenant
from orchestrator.webhooks.addresses import EgressPolicy, ForbiddenUrl
from orchestrator.webhooks.requests import EndpointChange, NewEndpoint
from orchestrator.webhooks.retention import SHOWN_S
from orchestrator.webhooks.secrets import SecretBox, hint
from orchestrator.webhooks.signing import new_secret
from orchestrator.webhooks.views import DeletedEndpoint, DeliveryView, EndpointView, EndpointWithSecret

MAX_ENDPOINTS: Final = 32  # per tenant
GRACE_S: Final = 86_400.0  # an old secret also signs for this long; OpenAI's 24 hours
SWITCHED_OFF: Final = "Its owner switched it off."


@dataclass(frozen=True)
class Endpoints:
    """The endpoints of an installation. Every method raises NotFound for endpoints of other tenants."""

    db: Database
    egress: EgressPolicy
    secret_box: SecretBox

    def create(self, tenant_id: str, new: NewEndpoint, now: datetime) -> EndpointWithSecret:
        """Create an endpoint. Only this response contains its secret. Raises: InvalidRequest, QuotaExceeded."""
        self._check_url(new.url)
        secret = new_secret()
        row = WebhookEndpointRow(
            id=new_id("we_"),
            tenant_id=tenant_id,
            name=new.name,
            url=new.url,
            event_types=[str(event_type) for event_type in new.event_types],
            secret=self.secret_box.seal(secret),
            secret_hint=hint(secret),
            created_at=now,
            updated_at=now,
        )
        with self.db.write() as session:
            lock_tenant(session, tenant_id)
            if (count := session.scalar(select(func.count()).where(_own(tenant_id))) or 0) >= MAX_ENDPOINTS:
                raise QuotaExceeded(f"You have {count} webhook endpoints; at most {MAX_ENDPOINTS} are allowed.")
            session.add(row)
        return _with_secret(row, secret)

    def list(self, tenant_id: str, window: PageWindow) -> Page[EndpointView]:
        """The tenant's endpoints."""
        with self.db.read() as session:
            query, ever = select(WebhookEndpointRow).where(_own(tenant_id)), WebhookEndpointRow.tenant_id == tenant_id
            found = page(session, query, WebhookEndpointRow, ever, window)
        return found.map(lambda row: EndpointView.of(row[0]))

    def get(self, tenant_id: str, endpoint_id: str) -> EndpointView:
        """One endpoint."""
        with self.db.read() as session:
            return EndpointView.of(own_endpoint(session, tenant_id, endpoint_id))

    def update(self, tenant_id: str, endpoint_id: str, change: EndpointChange, now: datetime) -> EndpointView:
        """Update, enable or disable an endpoint. Raises: InvalidRequest."""
        if change.url is not None:
            self._check_url(change.url)
        with self.db.write() as session:
            row = self._held(session, tenant_id, endpoint_id)
            for name, value in change.columns().items():
                setattr(row, name, value)
            if (options := change.x_orchard) is not None and options.enabled != (row.disabled_at is None):
                row.disabled_at = None if options.enabled else now
                row.disabled_reason = None if options.enabled else SWITCHED_OFF
            if session.is_modified(row):
                row.updated_at = now
        return EndpointView.of(row)

    def delete(self, tenant_id: str, endpoint_id: str, now: datetime) -> DeletedEndpoint:
        """Stop sending to the endpoint and delete its secret."""
        with self.db.write() as session:
            row = self._held(session, tenant_id, endpoint_id)
            row.deleted_at = row.updated_at = now
            row.secret = row.old_secret = row.old_secret_until = None
        return DeletedEndpoint(id=endpoint_id)

    def rotate_secret(self, tenant_id: str, endpoint_id: str, *, keep_old: bool, now: datetime) -> EndpointWithSecret:
        """Sign with a new secret from now on; with `keep_old`, also with the current one for a day."""
        secret = new_secret()
        with self.db.write() as session:
            row = self._held(session, tenant_id, endpoint_id)
            row.old_secret = row.secret if keep_old else None
            row.old_secret_until = now + timedelta(seconds=GRACE_S) if keep_old else None
            row.secret, row.secret_hint, row.updated_at = self.secret_box.seal(secret), hint(secret), now
        return _with_secret(row, secret)

    def deliveries(self, tenant_id: str, endpoint_id: str, window: PageWindow, now: datetime) -> Page[DeliveryView]:
        """Deliveries of the endpoint, pending ones and those of the last month."""
        query = select(WebhookDeliveryRow).where(WebhookDeliveryRow.created_at >= now - timedelta(seconds=SHOWN_S))
        own = and_(WebhookDeliveryRow.endpoint_id == endpoint_id, WebhookDeliveryRow.tenant_id == tenant_id)
        with self.db.read() as session:
            own_endpoint(session, tenant_id, endpoint_id)
            found = page(session, query, WebhookDeliveryRow, own, window)
        return found.map(lambda row: DeliveryView.of(row[0]))

    def _check_url(self, url: str) -> None:
        try:
            self.egress.check_url(url)
        except ForbiddenUrl as error:
            raise InvalidRequest(
                f"Nothing can be sent to this URL: {error}.", param="url", code="invalid_url"
            ) from None

    def _held(self, session: Session, tenant_id: str, endpoint_id: str) -> WebhookEndpointRow:
        """The endpoint, with its tenant locked."""
        lock_tenant(session, tenant_id)
        return own_endpoint(session, tenant_id, endpoint_id)


def own_endpoint(session: Session, tenant_id: str, endpoint_id: str) -> WebhookEndpointRow:
    """The tenant's endpoint. Raises: NotFound, also for another tenant's and for deleted ones."""
    row = session.scalar(select(WebhookEndpointRow).where(WebhookEndpointRow.id == endpoint_id, _own(tenant_id)))
    if row is None:
        raise NotFound(f"No such webhook endpoint: {endpoint_id}", param="webhook_endpoint_id")
    return row


def _own(tenant_id: str) -> ColumnElement[bool]:
    return and_(WebhookEndpointRow.tenant_id == tenant_id, WebhookEndpointRow.deleted_at.is_(None))


def _with_secret(row: WebhookEndpointRow, secret: str) -> EndpointWithSecret:
    return EndpointWithSecret(**EndpointView.of(row).model_dump(), signing_secret=secret)

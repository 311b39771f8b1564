"""Tenants' views of webhook endpoints and deliveries. Only `EndpointWithSecret` contains a secret."""

from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, Field

from orchestrator.db.effect_tables import WebhookDeliveryRow, WebhookEndpointRow

DeliveryState = Literal["pending", "delivered", "failed"]


class EndpointDetails(BaseModel):
    """Fields that OpenAI does not have."""

    enabled: bool = Field(description="false: nothing is sent there")
    disabled_at: int | None = Field(description="Unix seconds")
    disabled_reason: str | None
    old_secret_until: int | None = Field(description="until then deliveries are also signed with the old secret")


class EndpointView(BaseModel):
    """A webhook endpoint."""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    created_at: int = Field(description="Unix seconds")
    updated_at: int
    name: str
    url: str
    event_types: list[str]
    signing_secret_hint: str = Field(description="the end of the secret, to tell secrets apart")
    x_orchard: EndpointDetails

    @classmethod
    def of(cls, row: WebhookEndpointRow) -> Self:
        """The view of a row."""
        return cls(
            id=row.id,
            created_at=int(row.created_at.timestamp()),
            updated_at=int(row.updated_at.timestamp()),
            name=row.name,
            url=row.url,
            event_types=row.event_types,
            signing_secret_hint=row.secret_hint,
            x_orchard=EndpointDetails(
                enabled=row.disabled_at is None,
                disabled_at=_seconds(row.disabled_at),
                disabled_reason=row.disabled_reason,
                old_secret_until=_seconds(row.old_secret_until),
            ),
        )


class EndpointWithSecret(EndpointView):
    """A webhook endpoint with its secret, shown once."""

    signing_secret: str = Field(description="`whsec_…`, for checking signatures; it is never shown again", repr=False)


class DeletedEndpoint(BaseModel):
    """A deleted webhook endpoint."""

    id: str
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    deleted: Literal[True] = True


class TrialResult(BaseModel):
    """The receiver's response."""

    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    webhook_endpoint_id: str
    event_type: str
    status_code: int
    success: Literal[True] = Field(True, description="a response arrived; see `status_code`")


class DeliveryView(BaseModel):
    """One event for one endpoint."""

    id: str = Field(description="the header `webhook-id` of every try")
    object: Literal["webhook_endpoint.delivery"] = "webhook_endpoint.delivery"
    webhook_endpoint_id: str
    event_id: str
    event_type: str
    job_id: str
    created_at: int = Field(description="Unix seconds")
    state: DeliveryState
    attempts: int
    last_try_at: int | None
    last_status_code: int | None = Field(description="null: no response")
    last_error: str | None = Field(description="why there was no response")
    next_try_at: int | None = Field(description="null: it is over")
    delivered_at: int | None

    @classmethod
    def of(cls, row: WebhookDeliveryRow) -> Self:
        """The view of a row."""
        return cls(
            id=row.id,
            webhook_endpoint_id=row.endpoint_id,
            event_id=row.event_id,
            event_type=row.event_type,
            job_id=row.job_id,
            created_at=int(row.created_at.timestamp()),
            state=row.state,
            attempts=row.attempts,
            last_try_at=_seconds(row.last_try_at),
            last_status_code=row.last_status_code,
            last_error=row.last_error,
            next_try_at=_seconds(row.next_try_at),
            delivered_at=_seconds(row.delivered_at),
        )


def _seconds(stamp: datetime | None) -> int | None:
    return None if stamp is None else int(stamp.timestamp())

"""The tables of a job's side effects: webhook deliveries and the usage ledger."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, PrimaryKeyConstraint, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.db.columns import Base, BigInt


class WebhookEndpointRow(Base):
    """A tenant's webhook URL. Rows stay, since deliveries reference them; a deleted endpoint has no secret."""

    __tablename__ = "webhook_endpoint"
    __table_args__ = (
        CheckConstraint("(deleted_at IS NULL) = (secret IS NOT NULL)", name="secret_until_deleted"),
        CheckConstraint("(old_secret IS NULL) = (old_secret_until IS NULL)", name="old_secret_has_an_end"),
        Index("ix_webhook_endpoint_tenant_id_seq", "tenant_id", "seq"),
    )

    seq: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))
    name: Mapped[str] = mapped_column(String(200))
    url: Mapped[str] = mapped_column(Text)
    event_types: Mapped[list[Any]]
    secret: Mapped[str | None] = mapped_column(Text, doc="sealed by orchestrator.webhooks.secrets")
    secret_hint: Mapped[str] = mapped_column(String(16))
    old_secret: Mapped[str | None] = mapped_column(Text, doc="also signs until `old_secret_until`; sealed")
    old_secret_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str | None] = mapped_column(Text)
    deleted_at: Mapped[datetime | None]


class WebhookDeliveryRow(Base):
    """The outbox: one event for one endpoint, written in the transaction that ended the job.

    `attempts` is the fence: a claim increments it, and settling requires that it is unchanged.
    """

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        UniqueConstraint("endpoint_id", "job_id"),
        CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="state"),
        CheckConstraint("(state = 'pending') = (next_try_at IS NOT NULL)", name="next_try_iff_pending"),
        CheckConstraint("(state = 'delivered') = (delivered_at IS NOT NULL)", name="delivered_at_iff_delivered"),
        Index("ix_webhook_delivery_endpoint_id_seq", "endpoint_id", "seq"),
        Index(
            "ix_webhook_delivery_due",
            "next_try_at",
            postgresql_where=text("state = 'pending'"),
            sqlite_where=text("state = 'pending'"),
        ),
    )

    seq: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(40), unique=True, doc="the `webhook-id` of every try")
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("webhook_endpoint.id"))
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"))
    event_id: Mapped[str] = mapped_column(String(40), doc="the same for every endpoint")
    event_type: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(16), default="pending")
    attempts: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime | None] = mapped_column(doc="a sender has claimed it; no other may send it until then")
    next_try_at: Mapped[datetime | None]
    last_try_at: Mapped[datetime | None]
    last_status_code: Mapped[int | None]
    last_error: Mapped[str | None] = mapped_column(Text)
    delivered_at: Mapped[datetime | None]


class UsageRow(Base):
    """One attempt's usage in one minute. A row is final after its minute, except that the end of the attempt marks
    usage lost through the service's fault (`lost_*`, never billed).
    """

    __tablename__ = "usage"
    __table_args__ = (
        PrimaryKeyConstraint("job_id", "attempt", "minute"),
        CheckConstraint("lost_tokens BETWEEN 0 AND tokens", name="lost_tokens_within"),
        CheckConstraint("lost_supervised_tokens BETWEEN 0 AND supervised_tokens", name="lost_supervised_within"),
        CheckConstraint("lost_seat_seconds BETWEEN 0 AND seat_seconds", name="lost_seconds_within"),
        Index("ix_usage_tenant_id_minute", "tenant_id", "minute"),
        Index("ix_usage_minute", "minute"),
    )

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id"))
    attempt: Mapped[int]
    minute: Mapped[int] = mapped_column(doc="Unix seconds // 60, when the report was applied")
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))
    base_id: Mapped[str] = mapped_column(String(128))
    flavor: Mapped[str] = mapped_column(String(63))
    step_before: Mapped[int] = mapped_column(doc="optimizer steps finished when the minute began")
    step: Mapped[int] = mapped_column(doc="and when it ended")
    metered_until: Mapped[datetime]
    tokens: Mapped[int] = mapped_column(BigInt, default=0)
    supervised_tokens: Mapped[int] = mapped_column(BigInt, default=0)
    seat_seconds: Mapped[float] = mapped_column(default=0.0)
    lost_tokens: Mapped[int] = mapped_column(BigInt, default=0)
    lost_supervised_tokens: Mapped[int] = mapped_column(BigInt, default=0)
    lost_seat_seconds: Mapped[float] = mapped_column(default=0.0)

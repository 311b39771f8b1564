"""The tables of encodings, files of tenants as rows of tokens by content, and of previews, which show them."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.db.columns import Base


class EncodingState(StrEnum):
    """The state of an encoding."""

    WAITING = "waiting"
    """Nobody is at work on it."""
    RUNNING = "running"
    """An encoder was given it."""
    DONE = "done"
    """Its rows are in storage."""
    FAILED = "failed"
    """It cannot be encoded. The next job or preview that needs it has it tried again."""
    DELETING = "deleting"
    """Its bytes are being removed, then its row."""


class EncodingRow(Base):
    """A file encoded for one base, task and set of options. `key` is a digest of all of these and of the tenant."""

    __tablename__ = "encoding"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'running', 'done', 'failed', 'deleting')", name="state"),
        CheckConstraint("(state = 'running') = (encoder IS NOT NULL)", name="encoder_iff_running"),
        CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name="lease_iff_running"),
        CheckConstraint("(state = 'done') = (encoded IS NOT NULL)", name="encoded_iff_done"),
        CheckConstraint("(state = 'failed') = (error_code IS NOT NULL)", name="error_iff_failed"),
        Index("ix_encoding_state_tenant_id", "state", "tenant_id"),
        Index("ix_encoding_tenant_id_claimed_at", "tenant_id", "claimed_at"),
        Index("ix_encoding_used_at", "used_at"),
        Index("ix_encoding_file_id", "file_id"),
    )

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))
    file_id: Mapped[str] = mapped_column(
        String(40), doc="of the files with this content the last that was needed or read"
    )
    uri: Mapped[str] = mapped_column(Text, doc="folder of its rows")
    state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(default=0, doc="tries so far; the number of the newest")
    encoder: Mapped[int | None] = mapped_column(doc="which encoder is at work on it")
    lease_until: Mapped[datetime | None] = mapped_column(doc="the encoder is given up if nothing is heard until then")
    claimed_at: Mapped[datetime | None] = mapped_column(doc="when it was last given to an encoder")
    not_before: Mapped[datetime | None] = mapped_column(doc="earliest next try")
    failures: Mapped[int] = mapped_column(default=0, doc="of machines, in a row")
    rows_read: Mapped[int] = mapped_column(default=0, doc="rows that are tokens, at the last poll")
    encoded: Mapped[dict[str, Any] | None] = mapped_column(doc="EncodedRef")
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    issues: Mapped[list[Any] | None] = mapped_column(doc="bad rows, as RowIssue; capped")
    created_at: Mapped[datetime]
    used_at: Mapped[datetime] = mapped_column(doc="when a job or preview last needed it")


class PreviewRow(Base):
    """Somebody who looks at what a job would train on: files are encoded for them, until they no longer ask."""

    __tablename__ = "preview"
    __table_args__ = (Index("ix_preview_tenant_id", "tenant_id"), Index("ix_preview_until", "until"))

    key: Mapped[str] = mapped_column(String(64), primary_key=True, doc="digest of the keys of its encodings")
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))
    spec: Mapped[dict[str, Any]] = mapped_column(doc="JobSpec")
    training_encoding: Mapped[str] = mapped_column(String(64))
    validation_encoding: Mapped[str | None] = mapped_column(String(64))
    until: Mapped[datetime] = mapped_column(doc="nobody looks any more, unless they ask again")

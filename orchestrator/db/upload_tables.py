"""The tables of multipart uploads. A completed upload becomes an `orchestrator.db.tables.FileRow`."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.db.columns import Base, BigInt


class UploadRow(Base):
    """A file sent in parts. It expires after an hour; garbage collection then removes its parts."""

    __tablename__ = "upload"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'completed', 'cancelled', 'expired')", name="status"),
        CheckConstraint("(status = 'completed') = (file_id IS NOT NULL)", name="file_iff_completed"),
        Index("ix_upload_tenant_id_status", "tenant_id", "status"),
        Index(
            "ix_upload_uncollected",
            "expires_at",
            postgresql_where=text("collected_at IS NULL"),
            sqlite_where=text("collected_at IS NULL"),
        ),
    )

    seq: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))
    filename: Mapped[str] = mapped_column(String(255))
    purpose: Mapped[str] = mapped_column(String(32))
    mime_type: Mapped[str] = mapped_column(String(255))
    bytes: Mapped[int] = mapped_column(BigInt, doc="total size of the parts")
    format: Mapped[str | None] = mapped_column(String(32), doc="the shape of its rows that the owner named")
    file_expires_s: Mapped[int | None] = mapped_column(doc="lifetime of the file, from its creation")
    status: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    file_id: Mapped[str | None] = mapped_column(ForeignKey("file.id"))
    collected_at: Mapped[datetime | None] = mapped_column(doc="when its parts were last removed")


class UploadPartRow(Base):
    """One part, complete in storage at `uri`. Completing the upload sets the order of parts."""

    __tablename__ = "upload_part"
    __table_args__ = (Index("ix_upload_part_upload_id", "upload_id"),)

    seq: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    upload_id: Mapped[str] = mapped_column(ForeignKey("upload.id"))
    bytes: Mapped[int] = mapped_column(BigInt)
    uri: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]

"""The table of who may use whose checkpoint."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.db.columns import Base, BigInt


class CheckpointPermissionRow(Base):
    """The tenant `project_id` may use a checkpoint of the tenant `tenant_id`. Gone with the row, or the checkpoint."""

    __tablename__ = "checkpoint_permission"
    __table_args__ = (
        UniqueConstraint("checkpoint_id", "project_id"),
        Index("ix_checkpoint_permission_project_id", "project_id"),
    )

    seq: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))
    checkpoint_id: Mapped[str] = mapped_column(ForeignKey("checkpoint.id", ondelete="CASCADE"))
    project_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))
    created_at: Mapped[datetime]

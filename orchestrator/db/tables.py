"""The tables of tenants, keys, files, bases and hosts. Jobs and their details: `orchestrator.db.job_tables`."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, PrimaryKeyConstraint, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from orchestrator.db.columns import RESIDENT_KEY, Base, BigInt
from workers.contract.spec import MAX_FAIR_WEIGHT


class TenantRow(Base):
    """The owner of files, jobs, adapters and keys. `slug` also names its MLflow workspace."""

    __tablename__ = "tenant"
    __table_args__ = (CheckConstraint(f"weight BETWEEN 1 AND {MAX_FAIR_WEIGHT}", name="weight_is_bounded"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    slug: Mapped[str] = mapped_column(String(63), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    allowed_bases: Mapped[list[Any] | None] = mapped_column(doc="base ids; NULL: every base of the catalogue")
    weight: Mapped[int] = mapped_column(default=1, doc="share of a host's tokens relative to other tenants")
    created_at: Mapped[datetime]
    suspended_at: Mapped[datetime | None] = mapped_column(doc="since when its keys are refused and its jobs rest")
    suspension_reason: Mapped[str | None] = mapped_column(String(200), doc="shown to the tenant")


class ApiKeyRow(Base):
    """A credential. Only its SHA-256 digest is stored; listings show `prefix`."""

    __tablename__ = "api_key"
    __table_args__ = (CheckConstraint("(role = 'admin') = (tenant_id IS NULL)", name="admin_has_no_tenant"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str | None] = mapped_column(ForeignKey("tenant.id"), index=True)
    role: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(200))
    prefix: Mapped[str] = mapped_column(String(32))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class FileRow(Base):
    """An uploaded or generated file. Its bytes are at `uri`; the database never holds its rows."""

    __tablename__ = "file"
    __table_args__ = (
        Index("ix_file_tenant_id_seq", "tenant_id", "seq"),
        Index(
            "ix_file_uncollected",
            "deleted_at",
            postgresql_where=text("deleted_at IS NOT NULL AND collected_at IS NULL"),
            sqlite_where=text("deleted_at IS NOT NULL AND collected_at IS NULL"),
        ),
    )

    seq: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))
    filename: Mapped[str] = mapped_column(String(255))
    purpose: Mapped[str] = mapped_column(String(32))
    bytes: Mapped[int] = mapped_column(BigInt)
    sha256: Mapped[str] = mapped_column(String(64))
    uri: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16))
    status_details: Mapped[str | None] = mapped_column(Text)
    format: Mapped[str | None] = mapped_column(String(32))
    shape: Mapped[str | None] = mapped_column(
        String(32), doc="of the rows as they were sent; null: as `format` has them"
    )
    container: Mapped[str] = mapped_column(
        String(16), default="jsonl", server_default="jsonl", doc="how it holds its rows"
    )
    notes: Mapped[list[Any] | None] = mapped_column(doc="what was recognised or assumed, as Note; capped")
    rows: Mapped[int | None]
    issue_count: Mapped[int] = mapped_column(default=0, doc="of all issues, in its report or not")
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    collected_at: Mapped[datetime | None] = mapped_column(doc="when its bytes were known to be gone")


class IssuePartRow(Base):
    """Some of the issues that were found in one file. `orchestrator.issues` writes and reads them."""

    __tablename__ = "issue_part"
    __table_args__ = (PrimaryKeyConstraint("owner_id", "last"),)

    owner_id: Mapped[str] = mapped_column(String(40), doc="the file, or the job that failed over it")
    last: Mapped[int] = mapped_column(doc="number of its last issue in the owner's report, counted from 1")
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))
    file_id: Mapped[str] = mapped_column(ForeignKey("file.id"), index=True)
    role: Mapped[str | None] = mapped_column(String(16), doc="FileRole in a job; NULL in the report of a file")
    count: Mapped[int]
    codes: Mapped[dict[str, Any]] = mapped_column(doc="number of its issues by code")
    issues: Mapped[list[Any]] = mapped_column(doc="as RowIssue")


class HostRow(Base):
    """One host: a base resident on a device. Its Ray actor is named `host-<id>`."""

    __tablename__ = "host"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    base_id: Mapped[str] = mapped_column(String(128))
    quantization: Mapped[str] = mapped_column(String(8))
    compute_dtype: Mapped[str] = mapped_column(String(8))
    task: Mapped[str] = mapped_column(String(32))
    lane: Mapped[str] = mapped_column(String(16))
    devices: Mapped[int] = mapped_column(default=1, doc="devices of its flavor that it occupies")
    flavor: Mapped[str] = mapped_column(String(63))
    spec: Mapped[dict[str, Any]] = mapped_column(doc="HostSpec")
    memory_bytes: Mapped[int] = mapped_column(BigInt, doc="process and base; an estimate until the host measures it")
    activation_bytes: Mapped[int] = mapped_column(BigInt, doc="of a pass, per position; likewise")
    recomputed_bytes: Mapped[int] = mapped_column(BigInt, doc="of a pass that recomputes, per position; likewise")
    vocab_size: Mapped[int] = mapped_column(doc="of the base: the width of its logits")
    budget_tokens: Mapped[int | None] = mapped_column(doc="maximum positions per pass, at the last poll")
    state: Mapped[str] = mapped_column(String(16), index=True)
    cursor: Mapped[int] = mapped_column(BigInt, default=0, doc="last report applied")
    base_digest: Mapped[str | None] = mapped_column(String(64))
    base_folder: Mapped[str | None] = mapped_column(Text, doc="its machine's path of the base in Hugging Face layout")
    base_loads: Mapped[int] = mapped_column(default=0, doc="times its process loaded the base; 1 for a healthy host")
    load_seconds: Mapped[float | None]
    resident_bytes: Mapped[int | None] = mapped_column(BigInt, doc="memory of its process, at the last poll")
    pid: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(Text)
    error_code: Mapped[str | None] = mapped_column(String(64), doc="ErrorCode of its end, if it said one")
    created_at: Mapped[datetime]
    ready_at: Mapped[datetime | None]
    idle_since: Mapped[datetime | None]
    last_seen_at: Mapped[datetime | None]
    stop_by: Mapped[datetime | None] = mapped_column(
        doc="of a stopping host: until then it may verify its base and exit; NULL: it is killed at once"
    )
    base_intact: Mapped[bool | None] = mapped_column(doc="result of the final check; NULL: there was none")
    ended_at: Mapped[datetime | None]


class UnusableBaseRow(Base):
    """A way to hold a base that a host found impossible. It lasts until entry or files of the base change."""

    __tablename__ = "unusable_base"
    __table_args__ = (PrimaryKeyConstraint(*RESIDENT_KEY),)

    base_id: Mapped[str] = mapped_column(String(128))
    quantization: Mapped[str] = mapped_column(String(8))
    compute_dtype: Mapped[str] = mapped_column(String(8))
    task: Mapped[str] = mapped_column(String(32))
    lane: Mapped[str] = mapped_column(String(16))
    entry_sha256: Mapped[str] = mapped_column(String(64), doc="of what the host was given of the catalogue's entry")
    files_sha256: Mapped[str | None] = mapped_column(
        String(64), doc="of names, sizes and times; empty: not seen; NULL: nobody has looked yet"
    )
    code: Mapped[str] = mapped_column(String(64))
    message: Mapped[str] = mapped_column(Text)
    host_id: Mapped[str] = mapped_column(ForeignKey("host.id"))
    host_created_at: Mapped[datetime]
    marked_at: Mapped[datetime]


class LeaseRow(Base):
    """Who may act in a role, and until when by the database's clock. Only `orchestrator.leadership` writes it."""

    __tablename__ = "lease"

    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    holder: Mapped[str] = mapped_column(String(200), doc="a process, as `orchestrator.leadership.holder` names it")
    term: Mapped[int] = mapped_column(BigInt, doc="increases with every new holder; the role's writes carry it")
    expires_at: Mapped[datetime]


class CheckpointPermissionRow(Base):
    """Tenant `project_id` may use a checkpoint of tenant `tenant_id` until `revoked_at`, while the checkpoint exists.

    A revoked row stays, as the place in a list that was read up to it; granting access again takes it back into use.
    """

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
    revoked_at: Mapped[datetime | None]

"""Marks of unusable bases: one for each way to hold a base, written when a host fails over it."""

from datetime import datetime

import structlog
from sqlalchemy import ColumnElement, delete, exists, select
from sqlalchemy.orm import Session

from orchestrator.bases.identity import entry_sha256
from orchestrator.catalogue.entries import Catalogue, CatalogueBase
from orchestrator.db.columns import RESIDENT_KEY
from orchestrator.db.host_states import HostState
from orchestrator.db.job_tables import JobRow
from orchestrator.db.tables import HostRow, UnusableBaseRow
from orchestrator.errors import InvalidRequest
from workers.contract.errors import ErrorCode
from workers.contract.spec import HostSpec, JobSpec

log = structlog.get_logger()


def same(
    one: UnusableBaseRow | HostRow | JobRow | type[UnusableBaseRow], table: type[HostRow | JobRow | UnusableBaseRow]
) -> tuple[ColumnElement[bool], ...]:
    """Rows of `table` that hold, or want, the base in the same way."""
    return tuple(getattr(table, name) == getattr(one, name) for name in RESIDENT_KEY)


def mark(session: Session, host: HostRow, code: ErrorCode, message: str, now: datetime) -> bool:
    """Mark the base that `host` could not load. False: another host holds it, so this one's machine is at fault."""
    held = exists().where(*same(host, HostRow), HostRow.id != host.id, HostRow.state == HostState.READY)
    if session.scalar(select(held)):
        return False
    spec = HostSpec.model_validate(host.spec)
    session.merge(
        UnusableBaseRow(
            **{name: getattr(host, name) for name in RESIDENT_KEY},
            entry_sha256=entry_sha256(spec.base, spec.target_modules),
            files_sha256=None,
            code=code,
            message=message,
            host_id=host.id,
            host_created_at=host.created_at,
            marked_at=now,
        )
    )
    log.error("base marked unusable", base=host.base_id, host=host.id, code=str(code), why=message)
    return True


def lift(session: Session, row: UnusableBaseRow | HostRow) -> bool:
    """Remove the mark of that way to hold the base; a mark that was read is removed only if it is still the same."""
    this = (UnusableBaseRow.marked_at == row.marked_at,) if isinstance(row, UnusableBaseRow) else ()
    gone = delete(UnusableBaseRow).where(*same(row, UnusableBaseRow), *this).returning(UnusableBaseRow.base_id)
    return session.execute(gone).first() is not None


def marks(session: Session, catalogue: Catalogue) -> list[UnusableBaseRow]:
    """Those that concern the catalogue's entries as they are now."""
    rows = session.scalars(select(UnusableBaseRow).order_by(UnusableBaseRow.marked_at)).all()
    return [row for row in rows if is_current(row, catalogue.base(row.base_id))]


def is_current(row: UnusableBaseRow, base: CatalogueBase | None) -> bool:
    """Whether the entry is still the one that a host failed over."""
    return base is not None and row.entry_sha256 == entry_sha256(base.spec, base.target_modules)


def mark_of(session: Session, base: CatalogueBase, key: tuple[str, ...]) -> UnusableBaseRow | None:
    """The mark of `base` held in the way of `key`, the values of `RESIDENT_KEY`."""
    row = session.get(UnusableBaseRow, dict(zip(RESIDENT_KEY, key, strict=True)), populate_existing=True)
    return row if row is not None and is_current(row, base) else None


def require_usable(session: Session, base: CatalogueBase, spec: JobSpec) -> None:
    """Raises: InvalidRequest when a host has found the base unusable in the way that the job asks for."""
    key = (spec.base.id, spec.quantization.value, spec.compute_dtype.value, spec.task.type, spec.lane.value)
    found = mark_of(session, base, key)
    if found is not None:
        raise InvalidRequest(
            f"{found.message} Until then choose another base or quantization.", param="model", code=found.code
        )

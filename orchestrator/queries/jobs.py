"""Queries for a tenant's own jobs, events and checkpoints."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, and_, bindparam, exists, func, select
from sqlalchemy.orm import Session

from orchestrator.db.database import Database
from orchestrator.db.job_tables import AttemptRow, CheckpointRow, EventRow, JobRow
from orchestrator.db.tables import HostRow
from orchestrator.issues.report import IssuePage, issue_lines, issue_page
from orchestrator.lifecycle.ownership import no_such_job, own_job
from orchestrator.paging import Page, PageWindow, page
from orchestrator.queries.job_views import CheckpointView, EventView, JobView, checkpoint_view, job_view, trains
from orchestrator.queries.registry_pages import NO_PAGES, RegistryPages
from orchestrator.tenancy.views import Tenant
from orchestrator.usage.step_rate import measured_rate


def get_job(db: Database, tenant_id: str, job_id: str, now: datetime, pages: RegistryPages = NO_PAGES) -> JobView:
    """One job. Raises: NotFound."""
    with db.read() as session:
        found = session.execute(_ONE_JOB, {"job_id": job_id, "tenant_id": tenant_id}).one_or_none()
        if found is None:
            raise no_such_job(job_id)
        return _view(session, found, now, pages)


def list_jobs(
    db: Database,
    tenant_id: str,
    window: PageWindow,
    metadata: Mapping[str, str] | None,
    now: datetime,
    pages: RegistryPages = NO_PAGES,
) -> Page[JobView]:
    """The tenant's jobs. `metadata`: only those with all of these pairs; None: only those without any pair."""
    query = _jobs()
    if metadata is None:
        query = query.where(JobRow.labels.is_(None))
    for key, value in (metadata or {}).items():
        query = query.where(_has_pair(db, key, value))
    with db.read() as session:
        found = page(session, query, JobRow, JobRow.tenant_id == tenant_id, window)
        return found.map(lambda row: _view(session, row, now, pages))


def list_events(db: Database, tenant_id: str, job_id: str, window: PageWindow) -> Page[EventView]:
    """The job's history. Raises: NotFound."""
    with db.read() as session:
        own_job(session, tenant_id, job_id)
        found = page(session, select(EventRow), EventRow, _of(EventRow, tenant_id, job_id), window)
    return found.map(lambda row: EventView.of(row[0]))


def list_checkpoints(db: Database, tenant: Tenant, job_id: str, window: PageWindow) -> Page[CheckpointView]:
    """The job's committed checkpoints. Raises: NotFound."""
    with db.read() as session:
        job = own_job(session, tenant.id, job_id)
        query = select(CheckpointRow).where(CheckpointRow.state == "committed")
        found = page(session, query, CheckpointRow, _of(CheckpointRow, tenant.id, job_id), window)
    return found.map(lambda row: checkpoint_view(row[0], job, tenant.slug))


def job_issues(db: Database, tenant_id: str, job_id: str, window: PageWindow) -> IssuePage:
    """A page of what the job reports of its files. Raises: NotFound, InvalidRequest (cursor)."""
    with db.read() as session:
        job = own_job(session, tenant_id, job_id)
        return issue_page(session, job.id, job.issue_count, window)


def job_issue_lines(db: Database, tenant_id: str, job_id: str) -> Iterator[bytes]:
    """The job's whole report as JSONL. Raises: NotFound, at once."""
    with db.read() as session:
        own_job(session, tenant_id, job_id)
    return issue_lines(db, job_id)


def _view(session: Session, found: Row[JobRow, str, str | None], now: datetime, pages: RegistryPages) -> JobView:
    """Only a job that trains costs a second query, for its rate."""
    job, host_id, base_digest = found
    rate = measured_rate(session, job.id, job.attempt) if trains(job) else None
    return job_view(job, host_id, base_digest, rate, now, pages)


def _jobs() -> Select[JobRow, str, str | None]:
    """Each job with the host of its newest attempt."""
    newest = and_(AttemptRow.job_id == JobRow.id, AttemptRow.number == JobRow.attempt)
    return (
        select(JobRow, HostRow.id, HostRow.base_digest)
        .outerjoin(AttemptRow, newest)
        .outerjoin(HostRow, HostRow.id == AttemptRow.host_id)
    )


_ONE_JOB: Final = _jobs().where(JobRow.id == bindparam("job_id"), JobRow.tenant_id == bindparam("tenant_id"))


def _has_pair(db: Database, key: str, value: str) -> ColumnElement[bool]:
    """Compare keys as values: in a JSON path, quotes and brackets in a key would be parsed as syntax."""
    each = func.json_each if db.engine.dialect.name == "sqlite" else func.jsonb_each_text
    pairs = each(JobRow.labels).table_valued("key", "value")
    return exists(select(1).select_from(pairs).where(pairs.c.key == key, pairs.c.value == value))


def _of(table: Any, tenant_id: str, job_id: str) -> ColumnElement[bool]:
    return and_(table.job_id == job_id, table.tenant_id == tenant_id)

"""Unpublishes deleted models: removes them from storage and marks them in the registry."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import select, update

from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.db.tables import TenantRow
from orchestrator.errors import ServiceError
from orchestrator.registry.errors import RegistryError, RegistryUnavailable
from orchestrator.registry.port import Registry
from orchestrator.steps.gc import GcPass
from orchestrator.steps.step import Counts
from orchestrator.storage.layout import belongs_to
from orchestrator.storage.objects import remove

A_PASS: Final = 100

log = structlog.get_logger()


@dataclass(frozen=True)
class Unpublish:
    """May be killed at any point: each part is repeated until the row records that all are done."""

    db: Database
    registry: Registry
    _gc_pass: GcPass[tuple[JobRow, str]] = field(
        default_factory=lambda: GcPass(A_PASS, later=(ServiceError, RegistryUnavailable))
    )

    def run_once(self, now: datetime) -> Counts:
        """Unpublish deleted models, oldest first. An outage leaves the rest to the next pass."""
        return self._gc_pass.run(self._due, lambda due: self._unpublish(*due, now), lambda due: due[0].id)

    def _due(self, offset: int, limit: int) -> list[tuple[JobRow, str]]:
        """Jobs with the slugs of their tenants."""
        deleted = (JobRow.model_deleted_at.is_not(None), JobRow.unpublished_at.is_(None))
        query = select(JobRow, TenantRow.slug).join(TenantRow).where(*deleted)
        by_age = query.order_by(JobRow.model_deleted_at, JobRow.seq)
        with self.db.read() as session:
            return [(job, slug) for job, slug in session.execute(by_age.offset(offset).limit(limit))]

    def _unpublish(self, job: JobRow, tenant_slug: str, now: datetime) -> Counts:
        _remove_adapter(job)
        try:
            self._mark(job, tenant_slug)
        except RegistryUnavailable:
            raise
        except RegistryError as error:  # it would be refused again, and the model is already invisible here
            log.error("deleted model stays in the registry unmarked", job=job.id, error=str(error))
        with self.db.write() as session:
            session.execute(update(JobRow).where(JobRow.id == job.id).values(unpublished_at=now))
        return Counts(unpublished=1)

    def _mark(self, job: JobRow, tenant_slug: str) -> None:
        if job.registry_name is not None and job.registry_version is not None and job.model_deleted_at is not None:
            self.registry.unpublish(tenant_slug, job.registry_name, job.registry_version, job.model_deleted_at)


def _remove_adapter(job: JobRow) -> None:
    uri = (job.adapter or {}).get("uri")
    if uri is None:
        return
    if belongs_to(uri, job.id):
        remove(uri)
    else:
        log.error("adapter is outside its job's prefix, not deleted", job=job.id)

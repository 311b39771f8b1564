"""Retracting: a model its tenant deleted is removed from storage and marked in the registry."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import select, update

from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.db.tables import TenantRow
from orchestrator.errors import StorageDown
from orchestrator.files.storage import remove
from orchestrator.loops.counts import Counts
from orchestrator.registry.errors import RegistryError, RegistryUnavailable
from orchestrator.registry.port import Registry

BATCH: Final = 100

log = structlog.get_logger()


@dataclass(frozen=True)
class Retract:
    """May be killed anywhere: each part is repeated until the row says that all are done."""

    db: Database
    registry: Registry

    def run_once(self, now: datetime) -> Counts:
        """Retract what was deleted, oldest first. An outage leaves the rest to the next pass."""
        due = (JobRow.model_deleted_at.is_not(None), JobRow.retracted_at.is_(None))
        query = select(JobRow, TenantRow.slug).join(TenantRow).where(*due)
        with self.db.read() as session:
            rows = session.execute(query.order_by(JobRow.model_deleted_at).limit(BATCH)).all()
        counts = Counts()
        for job, slug in rows:
            try:
                self._retract(job, slug)
            except (StorageDown, RegistryUnavailable) as error:
                log.warning("deleted model not retracted yet", job=job.id, error=str(error))
                counts["delayed"] += 1
                break  # the next one would wait for the same time-out
            except RegistryError as error:  # it would be refused again; nobody finds the model here, mark or not
                log.error("deleted model stays in the registry unmarked", job=job.id, error=str(error))
            with self.db.write() as session:
                session.execute(update(JobRow).where(JobRow.id == job.id).values(retracted_at=now))
            counts["retracted"] += 1
        return counts

    def _retract(self, job: JobRow, tenant_slug: str) -> None:
        if job.adapter:
            remove(job.adapter["uri"])
        if job.registry_name is not None and job.registry_version is not None and job.model_deleted_at is not None:
            self.registry.retract(tenant_slug, job.registry_name, job.registry_version, job.model_deleted_at)

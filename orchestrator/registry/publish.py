"""Publishes a trained adapter from storage to the registry, and completes its job."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Final

import structlog
from pydantic import ValidationError
from sqlalchemy import Select, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from orchestrator.artifacts.results import ResultFile, result_csv, write_result_file
from orchestrator.catalogue.entries import Catalogue
from orchestrator.db.database import Database
from orchestrator.db.job_tables import AttemptRow, EventRow, JobRow
from orchestrator.db.states import Desired, JobState
from orchestrator.db.tables import FileRow, HostRow, TenantRow
from orchestrator.errors import ServiceError
from orchestrator.lifecycle.events import EventDraft, record
from orchestrator.lifecycle.model_names import fine_tuned_model_name, registered_name
from orchestrator.lifecycle.retry_policy import UNREADABLE_SPEC, failed
from orchestrator.lifecycle.transition import JobRef, amend, transition
from orchestrator.registry.errors import RegistryError
from orchestrator.registry.fetch import fetch_verified
from orchestrator.registry.port import MetricPoint, Publication, Registered, Registry
from orchestrator.steps.step import Counts, LeadershipLost
from workers.contract.errors import ErrorCode
from workers.contract.failpoints import failpoint
from workers.contract.owned_folder import SCRATCH, owned_folder
from workers.contract.reports import AdapterManifest
from workers.contract.spec import JobSpec

log = structlog.get_logger()

RETRY_S: Final = 15.0  # pause after the registry or storage was unavailable
CURVES: Final = ("train_loss", "full_valid_loss", "learning_rate", "grad_norm")


@dataclass(frozen=True)
class Publish:
    """PUBLISHING -> SUCCEEDED. May be killed at any point: a retry finds every effect by the job's id."""

    db: Database
    registry: Registry
    catalogue: Catalogue
    storage_uri: str
    public_url: str | None = None

    def run_once(self, now: datetime) -> Counts:
        """Publish every waiting adapter, oldest first."""
        with self.db.read() as session:
            due = or_(JobRow.not_before.is_(None), JobRow.not_before <= now)
            wanted = (
                JobRow.finished_at.is_(None),
                JobRow.state == JobState.PUBLISHING,
                JobRow.desired != Desired.CANCEL,
            )
            waiting = select(JobRow).where(*wanted, due).order_by(JobRow.seq)
            rows = session.scalars(waiting).all()
        counts = Counts()
        for row in rows:
            try:
                counts[self._publish(row, now)] += 1
            except (RegistryError, ServiceError) as error:
                counts[self._not_published(row, error, now)] += 1
                if error.retryable:
                    break  # the next one would hit the same timeout
            except ValidationError:
                counts[self._unreadable(row, now)] += 1
            except (SQLAlchemyError, LeadershipLost):  # neither is about this adapter
                raise
            except Exception:  # a bug with one adapter must not block the others
                log.exception("adapter not published", job=row.id)
                counts["errors"] += 1
                self._later(row, now)
        return counts

    def _publish(self, row: JobRow, now: datetime) -> str:
        with self.db.read() as session:
            events = _metric_events(session, row.id)
            publication = self._publication(session, row, events)
            csv = result_csv(events)
        with owned_folder(f"{SCRATCH}adapter-") as folder:
            fetch_verified(publication.manifest, folder)
            if not self._begin(row, now):
                return "cancelled"
            failpoint("publish.fetched")
            registered = self.registry.publish(publication, folder)
        failpoint("publish.registered")
        result = write_result_file(self.storage_uri, row.tenant_id, row.id, csv)
        failpoint("publish.result")
        return self._succeed(row, publication, registered, result, now)

    def _begin(self, row: JobRow, now: datetime) -> bool:
        """The point of no return: from here on a version may exist, so the job can only succeed or be refused.

        False: its owner cancelled it, or another process ended it, first.
        """
        if row.registering_at is not None:
            return True
        with self.db.write() as session:
            return amend(session, JobRef.of(row), (JobRow.desired != Desired.CANCEL,), registering_at=now)

    def _succeed(self, row: JobRow, what: Publication, where: Registered, result: ResultFile, now: datetime) -> str:
        with self.db.write() as session:
            if session.scalar(select(FileRow.seq).where(FileRow.id == result.file_id)) is None:
                session.add(result.row(now))
                session.flush()
            new = EventDraft(f"New fine-tuned model created: {what.fine_tuned_model}")
            record(session, row.tenant_id, row.id, new, now)
            done = transition(
                session,
                JobRef.of(row),
                JobState.SUCCEEDED,
                EventDraft("The job has successfully completed"),
                now=now,
                fine_tuned_model=what.fine_tuned_model,
                registry_name=where.name,
                registry_version=where.version,
                result_file_id=result.file_id,
                not_before=None,
            )
            if done is None:
                session.rollback()  # also drops the two rows above
                return "stale"
            failpoint("publish.before_commit")
        return "published"

    def _publication(self, session: Session, row: JobRow, events: list[EventRow]) -> Publication:
        tenant = session.get_one(TenantRow, row.tenant_id)
        base = self.catalogue.base(row.base_id)
        holder = session.scalar(_base_folder(row))
        return Publication(
            spec=JobSpec.model_validate(row.spec),
            attempt=row.attempt,
            tenant_slug=tenant.slug,
            name=registered_name(row.suffix, row.base_id),
            fine_tuned_model=fine_tuned_model_name(row.base_id, tenant.slug, row.suffix, row.id),
            manifest=AdapterManifest.model_validate(row.adapter),
            orchard_version=version("orchard"),
            base_path=holder,
            base_license=base.license if base else None,
            eval_loss_before=row.eval_loss_before,
            eval_loss_after=row.eval_loss_after,
            best_step=row.best_step,
            metrics=tuple(_curves(events)),
            job_url=f"{self.public_url}/v1/fine_tuning/jobs/{row.id}" if self.public_url else None,
        )

    def _not_published(self, row: JobRow, error: RegistryError | ServiceError, now: datetime) -> str:
        """Retry a transient error later; fail the job on any other. The adapter stays in storage either way."""
        log.warning("adapter not published", job=row.id, code=error.code, error=str(error))
        with self.db.write() as session:
            if not error.retryable:
                decision = failed(str(error.code), str(error))
                transition(session, JobRef.of(row), decision.to, decision.event, now=now, **decision.changes)
                return "failed"
            if row.not_before is None:  # once, not at every try
                message = "The registry is not reachable. The adapter is safe in storage and will be published later"
                record(session, row.tenant_id, row.id, EventDraft(message, level="warn"), now)
        self._later(row, now)
        return "delayed"

    def _unreadable(self, row: JobRow, now: datetime) -> str:
        decision = failed(ErrorCode.INTERNAL, UNREADABLE_SPEC)
        with self.db.write() as session:
            transition(session, JobRef.of(row), decision.to, decision.event, now=now, **decision.changes)
        return "failed"

    def _later(self, row: JobRow, now: datetime) -> None:
        with self.db.write() as session:
            amend(session, JobRef.of(row), not_before=now + timedelta(seconds=RETRY_S))


def _base_folder(row: JobRow) -> Select[str | None]:
    """The base's path on the last attempt's host, for consumers on machines that mount it there too."""
    attempt = (AttemptRow.job_id == row.id, AttemptRow.number == row.attempt)
    return select(HostRow.base_folder).join(AttemptRow, AttemptRow.host_id == HostRow.id).where(*attempt)


def _metric_events(session: Session, job_id: str) -> list[EventRow]:
    """The step events of a job; for a step repeated after a restart, the last one."""
    rows = session.scalars(
        select(EventRow).where(EventRow.job_id == job_id, EventRow.type == "metrics").order_by(EventRow.seq)
    )
    return list({((row.data or {}).get("step"), "train_loss" in (row.data or {})): row for row in rows}.values())


def _curves(events: list[EventRow]) -> list[MetricPoint]:
    return [
        MetricPoint(int(data["step"]), name, float(data[name]), int(event.created_at.timestamp() * 1000))
        for event in events
        if (data := event.data or {})
        for name in CURVES
        if name in data
    ]

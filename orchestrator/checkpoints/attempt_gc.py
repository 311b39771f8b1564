"""Garbage collection of files that ended attempts left in storage and no row references."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from posixpath import basename
from typing import Final

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from orchestrator.checkpoints.states import CheckpointState, mark_for_deletion
from orchestrator.db.database import Database
from orchestrator.db.job_tables import AttemptRow, CheckpointRow, JobRow
from orchestrator.db.states import JobState
from orchestrator.steps.gc import GcPass
from orchestrator.steps.step import Counts
from orchestrator.storage.layout import belongs_to
from orchestrator.storage.listing import children
from orchestrator.storage.objects import remove
from workers.contract.failpoints import failpoint

log = structlog.get_logger()

A_PASS: Final = 50


@dataclass(frozen=True)
class AttemptGc:
    """Clears the prefix of each attempt that ended `after_s` seconds ago, once.

    By then none of its workers is alive: a worker that cannot reach the control plane stops at its dead-man timeout.
    The attempt's lease is gone, so it can commit no more checkpoints. Files that a row references stay: committed
    checkpoints and the job's adapter. A cancelled job keeps no files.
    """

    db: Database
    after_s: int
    _gc_pass: GcPass[tuple[AttemptRow, JobRow]] = field(default_factory=lambda: GcPass(A_PASS))

    def run_once(self, now: datetime) -> Counts:
        """Clear one attempt at a time, oldest end first, until storage stops responding."""
        return self._gc_pass.run(
            lambda offset, limit: self._due(now, offset, limit),
            lambda due: self._collect(*due, now),
            lambda due: f"attempt {due[0].number} of {due[1].id}",
        )

    def _due(self, now: datetime, offset: int, limit: int) -> list[tuple[AttemptRow, JobRow]]:
        over = (AttemptRow.ended_at <= now - timedelta(seconds=self.after_s), AttemptRow.collected_at.is_(None))
        query = select(AttemptRow, JobRow).join(JobRow, JobRow.id == AttemptRow.job_id).where(*over)
        by_end = query.order_by(AttemptRow.ended_at, AttemptRow.job_id, AttemptRow.number)
        with self.db.read() as session:
            return [(attempt, job) for attempt, job in session.execute(by_end.offset(offset).limit(limit))]

    def _collect(self, attempt: AttemptRow, job: JobRow, now: datetime) -> Counts:
        """Update rows first, then delete bytes, then mark the attempt as collected."""
        prefix = _prefix(job, attempt.number)
        with self.db.write() as session:
            _mark_unwanted(session, attempt, job)
            spoken_for = _spoken_for(session, attempt, job, prefix)
        left = [name for name in children(prefix) if name not in spoken_for] if prefix else []
        for name in left:
            remove(f"{prefix}/{name}")
            failpoint("attempts.leftover")
        with self.db.write() as session:
            this = (AttemptRow.job_id == attempt.job_id, AttemptRow.number == attempt.number)
            session.execute(update(AttemptRow).where(*this, AttemptRow.ended_at.is_not(None)).values(collected_at=now))
        return Counts(collected=1, leftovers=len(left))


def _prefix(job: JobRow, attempt: int) -> str | None:
    """Where the attempt wrote. None, after a log entry, if the row's prefix cannot be trusted."""
    prefix = f"{str(job.spec.get('output_uri', '')).rstrip('/')}/a{attempt}"
    if belongs_to(prefix, job.id):
        return prefix
    log.error("output prefix cannot be trusted, not deleted", job=job.id, attempt=attempt)
    return None


def _mark_unwanted(session: Session, attempt: AttemptRow, job: JobRow) -> None:
    """Mark the attempt's corrupt checkpoints, or all of a cancelled job's. `CheckpointGc` deletes their bytes."""
    if job.state == JobState.CANCELLED:
        mark_for_deletion(session, CheckpointRow.job_id == job.id)
    this = (CheckpointRow.job_id == job.id, CheckpointRow.attempt == attempt.number)
    mark_for_deletion(session, *this, CheckpointRow.state == CheckpointState.CORRUPT)


def _spoken_for(session: Session, attempt: AttemptRow, job: JobRow, prefix: str | None) -> set[str]:
    """Names below the prefix that a row references."""
    live = CheckpointRow.state.in_((CheckpointState.COMMITTED, CheckpointState.DELETING))
    this = (CheckpointRow.job_id == job.id, CheckpointRow.attempt == attempt.number)
    uris: Sequence[str] = session.scalars(select(CheckpointRow.uri).where(*this, live)).all()
    adapter = (job.adapter or {}).get("uri", "") if job.state != JobState.CANCELLED else ""
    return {basename(uri.rstrip("/")) for uri in (*uris, adapter) if prefix and uri.startswith(f"{prefix}/")}

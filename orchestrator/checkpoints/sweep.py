"""Sweeping: what attempts that are over left in storage and no row speaks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from posixpath import basename
from typing import Final

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from orchestrator.checkpoints.prefixes import belongs_to, children
from orchestrator.checkpoints.states import CheckpointState, condemn
from orchestrator.db.database import Database
from orchestrator.db.job_tables import AttemptRow, CheckpointRow, JobRow
from orchestrator.errors import ServiceError
from orchestrator.files.storage import remove
from orchestrator.jobs.states import JobState
from orchestrator.loops.counts import Counts
from workers.contract.failpoints import failpoint

log = structlog.get_logger()

A_PASS: Final = 50


@dataclass(frozen=True)
class SweepAttempts:
    """Clears the prefix of each attempt that has been over for `after_s` seconds, once.

    By then no worker of it lives: one that cannot reach the control plane stops itself when its trust runs out. Its
    checkpoints were all committed or never will be, since its lease is gone. What a row speaks for stays: committed
    checkpoints, and the adapter of the job. Of a cancelled job nothing stays.
    """

    db: Database
    after_s: int

    def run_once(self, now: datetime) -> Counts:
        """One attempt after the other, oldest end first, until storage does not answer."""
        counts = Counts()
        over = (AttemptRow.ended_at <= now - timedelta(seconds=self.after_s), AttemptRow.swept_at.is_(None))
        with self.db.read() as session:
            query = select(AttemptRow, JobRow).join(JobRow, JobRow.id == AttemptRow.job_id).where(*over)
            due = session.execute(query.order_by(AttemptRow.ended_at).limit(A_PASS)).all()
        for attempt, job in due:
            try:
                counts["leftovers"] += self._sweep(attempt, job, now)
            except ServiceError as error:
                log.warning("attempt not swept", job=job.id, attempt=attempt.number, error=type(error).__name__)
                counts["delayed"] += 1
                break
            counts["swept"] += 1
        return +counts

    def _sweep(self, attempt: AttemptRow, job: JobRow, now: datetime) -> int:
        """Rows first, then bytes, then the mark that it is done. Returns how many leftovers were removed."""
        prefix = _prefix(job, attempt.number)
        with self.db.write() as session:
            _condemn_unwanted(session, attempt, job)
            spoken_for = _spoken_for(session, attempt, job, prefix)
        left = [name for name in children(prefix) if name not in spoken_for] if prefix else []
        for name in left:
            remove(f"{prefix}/{name}")
            failpoint("attempts.leftover")
        with self.db.write() as session:
            this = (AttemptRow.job_id == attempt.job_id, AttemptRow.number == attempt.number)
            session.execute(update(AttemptRow).where(*this, AttemptRow.ended_at.is_not(None)).values(swept_at=now))
        return len(left)


def _prefix(job: JobRow, attempt: int) -> str | None:
    """Where the attempt wrote. None, said in the log, if the row does not say it in a way to be trusted."""
    prefix = f"{str(job.spec.get('output_uri', '')).rstrip('/')}/a{attempt}"
    if belongs_to(prefix, job.id):
        return prefix
    log.error("output prefix cannot be trusted and is left alone", job=job.id, attempt=attempt)
    return None


def _condemn_unwanted(session: Session, attempt: AttemptRow, job: JobRow) -> None:
    """Corrupt checkpoints of the attempt; of a cancelled job every one. Their bytes go when they are erased."""
    if job.state == JobState.CANCELLED:
        condemn(session, CheckpointRow.job_id == job.id)
    this = (CheckpointRow.job_id == job.id, CheckpointRow.attempt == attempt.number)
    condemn(session, *this, CheckpointRow.state == CheckpointState.CORRUPT)


def _spoken_for(session: Session, attempt: AttemptRow, job: JobRow, prefix: str | None) -> set[str]:
    """Names below the prefix that a row speaks for."""
    live = CheckpointRow.state.in_((CheckpointState.COMMITTED, CheckpointState.DELETING))
    this = (CheckpointRow.job_id == job.id, CheckpointRow.attempt == attempt.number)
    uris: Sequence[str] = session.scalars(select(CheckpointRow.uri).where(*this, live)).all()
    adapter = (job.adapter or {}).get("uri", "") if job.state != JobState.CANCELLED else ""
    return {basename(uri.rstrip("/")) for uri in (*uris, adapter) if prefix and uri.startswith(f"{prefix}/")}

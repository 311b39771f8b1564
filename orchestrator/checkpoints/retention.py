"""Retention: COMMITTED -> DELETING for superseded checkpoints. `gc` deletes their bytes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.orm import Session

from orchestrator.checkpoints.states import CheckpointState, mark_for_deletion
from orchestrator.db.database import Database
from orchestrator.db.job_tables import AttemptRow, CheckpointRow, JobRow
from orchestrator.db.states import JobState
from orchestrator.db.tables import CheckpointPermissionRow
from orchestrator.steps.step import Counts

CHOOSING: Final = (JobState.ADMITTED, JobState.STARTING)
"""States in which an attempt was offered checkpoints and has not reported which one it resumes from."""


@dataclass(frozen=True)
class Candidate:
    """The fields of a committed checkpoint that the decision needs."""

    seq: int
    step: int
    verified_at: datetime | None = None
    valid_loss: float | None = None
    shared: bool = False


def superseded(committed: Sequence[Candidate], keep: int) -> list[int]:
    """The `seq` of each checkpoint that may go, oldest first.

    It keeps the newest `keep` in resume order, the one verified last (a running attempt resumed from it), the one with
    the lowest validation loss, and those shared with other tenants.
    """
    newest_first = sorted(committed, key=lambda one: (one.step, one.seq), reverse=True)
    kept = {one.seq for one in newest_first[:keep]} | {one.seq for one in committed if one.shared}
    if verified := [one for one in committed if one.verified_at is not None]:
        kept.add(max(verified, key=lambda one: (one.verified_at, one.seq)).seq)
    if scored := [one for one in newest_first if one.valid_loss is not None]:
        kept.add(min(scored, key=lambda one: one.valid_loss or 0.0).seq)
    return [one.seq for one in reversed(newest_first) if one.seq not in kept]


@dataclass(frozen=True)
class CheckpointRetention:
    """Applies `superseded` to every job that has or recently had an attempt."""

    db: Database
    keep: int

    def run_once(self, now: datetime) -> Counts:
        """Check jobs with more checkpoints than retention keeps. Each job with superseded ones gets one transaction."""
        with self.db.read() as session:
            crowded = _committed(session, CheckpointRow.job_id.in_(self._crowded()))
        counts = Counts()
        for job_id, rows in crowded.items():
            if superseded(rows, self.keep):
                counts["marked_for_deletion"] += self._thin_out(job_id)
        return +counts

    def _thin_out(self, job_id: str) -> int:
        """Decide again while the job cannot be admitted: an admission offers what is committed after that."""
        with self.db.write() as session:
            state = session.scalar(select(JobRow.state).where(JobRow.id == job_id).with_for_update())
            if state in CHOOSING:
                return 0
            rows = _committed(session, CheckpointRow.job_id == job_id).get(job_id, [])
            return mark_for_deletion(session, CheckpointRow.seq.in_(superseded(rows, self.keep)))

    def _crowded(self) -> Select[str]:
        lately = select(AttemptRow.job_id).where(AttemptRow.collected_at.is_(None))
        committed = (CheckpointRow.state == CheckpointState.COMMITTED, CheckpointRow.job_id.in_(lately))
        per_job = select(CheckpointRow.job_id).where(*committed).group_by(CheckpointRow.job_id)
        return per_job.having(func.count() > self.keep)


def _committed(session: Session, which: ColumnElement[bool]) -> Mapping[str, list[Candidate]]:
    """The committed checkpoints that match `which`, by job."""
    granted = (CheckpointPermissionRow.checkpoint_id == CheckpointRow.id, CheckpointPermissionRow.revoked_at.is_(None))
    shared = exists().where(*granted)
    rows = session.execute(select(CheckpointRow, shared).where(which, CheckpointRow.state == CheckpointState.COMMITTED))
    found: defaultdict[str, list[Candidate]] = defaultdict(list)
    for row, is_shared in rows:
        loss = row.metrics.get("full_valid_loss")
        found[row.job_id].append(Candidate(row.seq, row.step, row.verified_at, loss, bool(is_shared)))
    return found

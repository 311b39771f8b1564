"""VALIDATING -> QUEUED or FAILED, once the encodings of a job's files are over."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import ValidationError
from sqlalchemy import Select, or_, select
from sqlalchemy.orm import aliased

from orchestrator.db.database import Database
from orchestrator.db.encoding_tables import EncodingRow, EncodingState
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import Desired, JobState
from orchestrator.encodings.keys import files_of, with_encoded
from orchestrator.issues.job_report import carry_out, whole_report
from orchestrator.lifecycle.events import EventDraft
from orchestrator.lifecycle.retry_policy import UNREADABLE_SPEC, RetryDecision, failed
from orchestrator.steps.step import Counts
from workers.contract.encoded import EncodedRef
from workers.contract.errors import ErrorCode
from workers.contract.failpoints import failpoint
from workers.contract.issues import FileRole
from workers.contract.rows import RowIssue
from workers.contract.spec import JobSpec

A_PASS: Final = 200
OVER: Final = (EncodingState.DONE, EncodingState.FAILED)
CODE_OF: Final = {
    FileRole.TRAINING: ErrorCode.INVALID_TRAINING_FILE,
    FileRole.VALIDATION: ErrorCode.INVALID_VALIDATION_FILE,
}
OF_DATA: Final = frozenset(CODE_OF.values())


@dataclass(frozen=True)
class Promote:
    """Moves jobs whose files are encoded, or cannot be."""

    db: Database

    def run_once(self, now: datetime) -> Counts:
        """Move every job whose encodings are all over, oldest first."""
        counts = Counts()
        with self.db.read() as session:
            seqs = session.scalars(_resolved().with_only_columns(JobRow.seq)).all()
        for seq in seqs:
            counts[self._move(seq, now)] += 1
        return counts

    def _move(self, seq: int, now: datetime) -> str:
        """Move one job; each is read alone, for the bad rows of its files may be megabytes."""
        with self.db.read() as session:
            found = session.execute(_resolved().where(JobRow.seq == seq)).one_or_none()
        if found is None:
            return "stale"
        job, training, validation = found
        decision = judge(job, {"training": training, "validation": validation})
        with self.db.write() as session:
            moved = carry_out(session, job, decision, now)
        failpoint("encodings.promoted")
        return "stale" if moved is None else str(decision.to)


def judge(job: JobRow, rows: Mapping[str, EncodingRow | None]) -> RetryDecision:
    """What becomes of the job, whose encodings are `rows` by role. Pure."""
    try:
        spec = JobSpec.model_validate(job.spec)
    except ValidationError:
        return failed(ErrorCode.INTERNAL, UNREADABLE_SPEC)
    files = [(FileRole(role), dataset, row) for role, dataset in files_of(spec) if (row := rows[role]) is not None]
    bad = [(role, dataset, row) for role, dataset, row in files if row.state == EncodingState.FAILED]
    if not bad:
        return _queued(spec, {role.value: EncodedRef.model_validate(row.encoded) for role, _, row in files})
    role, dataset, row = bad[0]
    code = CODE_OF[role] if row.error_code in OF_DATA else row.error_code or ErrorCode.INTERNAL
    message = (row.error_message or "").replace(row.file_id, dataset.file_id)
    issues = {role: [RowIssue.model_validate(issue) for issue in row.issues or ()] for role, _, row in bad}
    if count := sum(map(len, issues.values())):
        message = f"{message.rstrip('.')}. {whole_report(job.id, count)}"
    return failed(code, message, issues=issues)


def _queued(spec: JobSpec, encoded: Mapping[str, EncodedRef]) -> RetryDecision:
    """Into the queue, with the rows that a seat fetches and the steps that these make."""
    ready = with_encoded(spec, encoded)
    counts = {role: ref.model_dump(mode="json", exclude={"uri", "sha256"}) for role, ref in encoded.items()}
    event = EventDraft("Files validated, moving job to queued state", data=counts)
    steps = spec.training.total_steps(encoded["training"].rows)
    return RetryDecision(JobState.QUEUED, event, {"spec": ready.model_dump(mode="json"), "total_steps": steps})


def _resolved() -> "Select[JobRow, EncodingRow, EncodingRow | None]":
    """Jobs with their encodings, all of which are over."""
    training, validation = aliased(EncodingRow), aliased(EncodingRow)
    return (
        select(JobRow, training, validation)
        .join(training, training.key == JobRow.training_encoding)
        .outerjoin(validation, validation.key == JobRow.validation_encoding)
        .where(
            JobRow.finished_at.is_(None),
            JobRow.state == JobState.VALIDATING,
            JobRow.desired == Desired.RUN,
            training.state.in_(OVER),
            or_(JobRow.validation_encoding.is_(None), validation.state.in_(OVER)),
        )
        .order_by(JobRow.seq)
        .limit(A_PASS)
    )

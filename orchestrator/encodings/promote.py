"""VALIDATING -> QUEUED or FAILED, once the encodings of a job's files are over."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog
from pydantic import ValidationError
from sqlalchemy import or_, select
from sqlalchemy.orm import aliased

from orchestrator.db.database import Database
from orchestrator.db.encoding_tables import EncodingRow, EncodingState
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import Desired, JobState
from orchestrator.encodings.keys import files_of, with_encoded
from orchestrator.lifecycle.events import EventDraft, record
from orchestrator.lifecycle.issue_events import issue_events
from orchestrator.lifecycle.retry_policy import UNREADABLE_SPEC, RetryDecision, failed
from orchestrator.lifecycle.transition import JobRef, transition
from orchestrator.steps.step import Counts
from workers.contract.encoded import EncodedRef
from workers.contract.errors import ErrorCode
from workers.contract.failpoints import failpoint
from workers.contract.spec import JobSpec

log = structlog.get_logger()
A_PASS: Final = 200
OVER: Final = (EncodingState.DONE, EncodingState.FAILED)
CODE_OF: Final = {"training": ErrorCode.INVALID_TRAINING_FILE, "validation": ErrorCode.INVALID_VALIDATION_FILE}
OF_DATA: Final = frozenset(CODE_OF.values())


@dataclass(frozen=True)
class Verdict:
    """What becomes of a job, with the bad rows of its files."""

    decision: RetryDecision
    issues: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Promote:
    """Moves jobs whose files are encoded, or cannot be."""

    db: Database

    def run_once(self, now: datetime) -> Counts:
        """Move every job whose encodings are all over, oldest first."""
        counts = Counts()
        with self.db.read() as session:
            rows = session.execute(_resolved()).all()
        for job, training, validation in rows:
            verdict = judge(job, {"training": training, "validation": validation})
            to, changes = verdict.decision.to, verdict.decision.changes
            with self.db.write() as session:
                for event in issue_events(verdict.issues):
                    record(session, job.tenant_id, job.id, event, now)
                moved = transition(session, JobRef.of(job), to, verdict.decision.event, now=now, **changes)
                if moved is None:
                    session.rollback()
            failpoint("encodings.promoted")
            counts[str(to) if moved else "stale"] += 1
        return counts


def judge(job: JobRow, rows: Mapping[str, EncodingRow | None]) -> Verdict:
    """What becomes of the job, whose encodings are `rows` by role. Pure."""
    try:
        spec = JobSpec.model_validate(job.spec)
    except ValidationError:
        return Verdict(failed(ErrorCode.INTERNAL, UNREADABLE_SPEC))
    files = [(role, dataset, row) for role, dataset in files_of(spec) if (row := rows[role]) is not None]
    bad = [(role, dataset, row) for role, dataset, row in files if row.state == EncodingState.FAILED]
    if bad:
        issues = tuple(issue for _, _, row in bad for issue in row.issues or ())
        role, dataset, row = bad[0]
        code = CODE_OF[role] if row.error_code in OF_DATA else row.error_code or ErrorCode.INTERNAL
        return Verdict(failed(code, (row.error_message or "").replace(row.file_id, dataset.file_id)), issues)
    encoded = {role: EncodedRef.model_validate(row.encoded) for role, _, row in files}
    return Verdict(_queued(spec, encoded))


def _queued(spec: JobSpec, encoded: Mapping[str, EncodedRef]) -> RetryDecision:
    """Into the queue, with the rows that a seat fetches and the steps that these make."""
    ready = with_encoded(spec, encoded)
    counts = {role: ref.model_dump(mode="json", exclude={"uri", "sha256"}) for role, ref in encoded.items()}
    event = EventDraft("Files validated, moving job to queued state", data=counts)
    steps = spec.training.total_steps(encoded["training"].rows)
    return RetryDecision(JobState.QUEUED, event, {"spec": ready.model_dump(mode="json"), "total_steps": steps})


def _resolved() -> Any:
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

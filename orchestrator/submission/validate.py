"""Validates a submitted job's files together, and asks for their rows to be encoded."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog
from pydantic import ValidationError
from sqlalchemy import and_, exists, or_, select

from orchestrator.db.database import Database
from orchestrator.db.encoding_tables import EncodingRow
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import Desired, JobState
from orchestrator.encodings.link import link
from orchestrator.errors import StorageMissing
from orchestrator.issues.job_report import carry_out, whole_report
from orchestrator.lifecycle.retry_policy import UNREADABLE_SPEC, RetryDecision, failed
from orchestrator.lifecycle.transition import JobRef
from orchestrator.steps.step import Counts
from orchestrator.submission.shared_rows import shared_rows
from workers.contract.errors import ErrorCode
from workers.contract.issues import MAX_ISSUES, FileRole
from workers.contract.rows import RowIssue
from workers.contract.spec import JobSpec

log = structlog.get_logger()

SHOWN_LINES = 20  # of an overlap, in the message
ALSO_IN_TRAINING: Final = "the row is also in the training file; remove it from one of the two"
ROUNDS: Final = 10
"""Turns per pass. The loop checks for shutdown between passes."""
RETRY_FOR: Final = timedelta(seconds=600)
"""How long to retry unreadable files after the first failure."""
_WAITING: Final = (
    JobRow.finished_at.is_(None),
    JobRow.state == JobState.VALIDATING,
    JobRow.desired == Desired.RUN,
    or_(
        JobRow.training_encoding.is_(None),
        ~exists().where(EncodingRow.key == JobRow.training_encoding),
        and_(JobRow.validation_encoding.is_not(None), ~exists().where(EncodingRow.key == JobRow.validation_encoding)),
    ),
)


@dataclass(frozen=True)
class Validate:
    """VALIDATING: FAILED, or linked to the encodings that it needs; those move it on (`orchestrator.encodings`).

    Tenants take turns, so that each waits for at most one job of every other.
    """

    db: Database
    storage_uri: str
    _turns: dict[str, int] = field(default_factory=dict)
    """Tenant -> `seq` of its last tried job."""
    _unread_since: dict[str, datetime | None] = field(default_factory=dict)
    """Job with unreadable files -> when the next pass that met it began. None: there was none yet."""

    def run_once(self, now: datetime) -> Counts:
        """Check one job of each tenant, oldest first, then the next of each; none twice.

        Unreadable storage is retried until `RETRY_FOR` is over.
        """
        counts = Counts()
        for number in range(ROUNDS):
            rows = self._next_of_each_tenant(from_the_start=number == 0)
            if not rows:
                break
            for row in rows:
                self._turns[row.tenant_id] = row.seq
                counts[self._check(row, now)] += 1
        return counts

    def _next_of_each_tenant(self, *, from_the_start: bool) -> list[JobRow]:
        """Each tenant's job after its last tried one, or its oldest if there is none and `from_the_start`."""
        chosen: dict[str, int] = {}
        with self.db.read() as session:
            waiting = select(JobRow.tenant_id, JobRow.seq).where(*_WAITING).order_by(JobRow.seq)
            by_age = [(tenant_id, seq) for tenant_id, seq in session.execute(waiting)]
            for tenant_id, seq in by_age:
                if seq > self._turns.get(tenant_id, 0):
                    chosen.setdefault(tenant_id, seq)
            for tenant_id, seq in by_age if from_the_start else ():
                chosen.setdefault(tenant_id, seq)
            of_these = select(JobRow).where(JobRow.seq.in_(chosen.values())).order_by(JobRow.seq)
            return list(session.scalars(of_these)) if chosen else []

    def _check(self, row: JobRow, now: datetime) -> str:
        spec, decision = self._decision(row, now)
        with self.db.write() as session:
            if decision is not None:
                moved = carry_out(session, row, decision, now)
                done = str(decision.to) if moved else "stale"
            elif spec is not None:
                done = "validated" if link(session, JobRef.of(row), spec, self.storage_uri, now) else "delayed"
            else:
                return "delayed"
        self._unread_since.pop(row.id, None)
        return done

    def _decision(self, row: JobRow, now: datetime) -> tuple[JobSpec | None, RetryDecision | None]:
        """The spec of a job whose files are good, or how the job ends; neither: undecided for now."""
        try:
            spec = JobSpec.model_validate(row.spec)
            return spec, check_files(spec)
        except ValidationError:
            return None, failed(ErrorCode.INTERNAL, UNREADABLE_SPEC)
        except Exception:  # an outage or a bug with one job's files must not stop the others
            log.warning("files not read", job=row.id, exc_info=True)
        if not self._is_out_of_patience(row.id, now):
            return None, None
        seconds = RETRY_FOR.total_seconds()
        message = f"The files could not be read from storage for {seconds:.0f} s. Submit the job again later."
        return None, failed(ErrorCode.STORAGE_UNAVAILABLE, message)

    def _is_out_of_patience(self, job_id: str, now: datetime) -> bool:
        """Record that the files could not be read in the pass of `now`, and test for the limit.

        That pass may have begun long before it reached this job, so the time runs from the next pass that meets it.
        """
        if job_id not in self._unread_since:
            self._unread_since[job_id] = None
            return False
        since = self._unread_since[job_id] or now
        self._unread_since[job_id] = since
        return now - since > RETRY_FOR


def check_files(spec: JobSpec) -> RetryDecision | None:
    """Read both files: they must still exist and share no row. None: they are good. Raises: StorageDown."""
    try:
        shared = shared_rows(spec.data.training, spec.data.validation)
    except StorageMissing:
        return failed(ErrorCode.STORAGE_UNAVAILABLE, "The files are no longer in storage. Upload them again.")
    if shared:
        place = (spec.data.validation or spec.data.training).container.place
        return _overlap(spec.job_id, shared, place)
    return None


def _overlap(job_id: str, shared: list[int], place: str) -> RetryDecision:
    shown = ", ".join(str(number) for number in shared[:SHOWN_LINES]) + (", …" if len(shared) > SHOWN_LINES else "")
    issues = [RowIssue(line=row, code="also_in_training", message=ALSO_IN_TRAINING) for row in shared[:MAX_ISSUES]]
    return failed(
        ErrorCode.INVALID_VALIDATION_FILE,
        f"The job failed due to an invalid validation file. {len(shared)} row(s) are also in the training file: "
        f"{place}s {shown}. Remove them from one of the two, or the validation loss means nothing. "
        f"{whole_report(job_id, len(issues))}",
        issues={FileRole.VALIDATION: issues},
    )

"""Validating: a submitted job's files are checked against each other, then it joins the queue."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import fsspec
import structlog
from pydantic import ValidationError
from sqlalchemy import select

from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.jobs.ends import UNREADABLE_SPEC, Verdict, failed
from orchestrator.jobs.events import EventDraft
from orchestrator.jobs.states import Desired, JobState
from orchestrator.jobs.transition import JobRef, transition
from orchestrator.loops.counts import Counts
from workers.contract.errors import ErrorCode
from workers.contract.spec import DatasetRef, JobSpec

log = structlog.get_logger()

SHOWN_LINES = 20  # of an overlap, in the message


@dataclass(frozen=True)
class Validate:
    """VALIDATING -> QUEUED or FAILED."""

    db: Database

    def run_once(self, now: datetime) -> Counts:
        """Check every job in VALIDATING. Storage that cannot be read now is asked again until the job's deadline."""
        wanted = (JobRow.finished_at.is_(None), JobRow.state == JobState.VALIDATING, JobRow.desired != Desired.CANCEL)
        with self.db.read() as session:
            rows = session.scalars(select(JobRow).where(*wanted).order_by(JobRow.seq)).all()
        counts = Counts()
        for row in rows:
            verdict = _verdict(row, now)
            if verdict is None:
                counts["delayed"] += 1
                continue
            with self.db.write() as session:
                job = transition(session, JobRef.of(row), verdict.to, verdict.event, now=now, **verdict.changes)
            counts["stale" if job is None else str(verdict.to)] += 1
        return counts


def _verdict(row: JobRow, now: datetime) -> Verdict | None:
    """None: nothing can be said now."""
    try:
        return check_files(JobSpec.model_validate(row.spec))
    except ValidationError:
        return failed(ErrorCode.INTERNAL, UNREADABLE_SPEC)
    except Exception:  # every back end of storage brings its own
        log.warning("files not read", job=row.id, exc_info=True)
    if row.state_deadline is None or now <= row.state_deadline:
        return None
    message = "The files could not be read from storage for a long time. Submit the job again later."
    return failed(ErrorCode.STORAGE_UNAVAILABLE, message)


def check_files(spec: JobSpec) -> Verdict:
    """Read both files through: they must still be there and share no row. Raises what the storage's back end does."""
    try:
        shared = _shared_lines(spec.data.training, spec.data.validation)
    except FileNotFoundError:
        return failed(ErrorCode.STORAGE_UNAVAILABLE, "The files are not in storage any more. Upload them again.")
    if shared:
        shown = ", ".join(str(line) for line in shared[:SHOWN_LINES]) + (", …" if len(shared) > SHOWN_LINES else "")
        return failed(
            ErrorCode.INVALID_VALIDATION_FILE,
            f"The job failed due to an invalid validation file. {len(shared)} row(s) also stand in the training file: "
            f"lines {shown}. Remove them from one of the two, or the validation loss means nothing.",
        )
    return Verdict(JobState.QUEUED, EventDraft("Files validated, moving job to queued state"))


def _shared_lines(training: DatasetRef, validation: DatasetRef | None) -> list[int]:
    """Line numbers of the validation file whose row the training file has too."""
    if validation is None:
        next(_lines(training), None)
        return []
    seen = {hash(line) for _, line in _lines(validation)}
    suspects = {line for _, line in _lines(training) if hash(line) in seen}
    return [number for number, line in _lines(validation) if line in suspects]


def _lines(dataset: DatasetRef) -> Iterator[tuple[int, bytes]]:
    with fsspec.open(dataset.uri, "rb") as file:
        for number, line in enumerate(file, start=1):
            if stripped := line.strip():
                yield number, stripped

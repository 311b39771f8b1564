"""Seats: attaches admitted jobs and detaches stopping ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from pydantic import ValidationError
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from orchestrator.cluster.port import Cluster, HostGone, HostUnreachable
from orchestrator.db.database import Database
from orchestrator.db.host_states import HostState
from orchestrator.db.job_tables import AttemptRow, CheckpointRow, JobRow
from orchestrator.db.states import SAVING, Desired, JobState
from orchestrator.db.tables import HostRow
from orchestrator.lifecycle.attempts import Seated, end_attempt, occupied_s, start_clock
from orchestrator.lifecycle.events import EventDraft
from orchestrator.lifecycle.retry_policy import RUNTIME_SPENT, UNREADABLE_SPEC, AttemptEnd
from orchestrator.lifecycle.transition import JobRef, transition
from orchestrator.steps.step import Counts
from workers.contract.errors import EncodedRowsLost, HostFull, MaxRuntimeExceeded, WorkerError
from workers.contract.failpoints import failpoint
from workers.contract.reports import ExitClass
from workers.contract.spec import CheckpointRef, JobSpec, SeatAssignment

log = structlog.get_logger()

MIN_RUNTIME_S = 1.0  # less than this is not worth an attempt
UNREADABLE = AttemptEnd(ExitClass.INFRA, message=UNREADABLE_SPEC, retryable=False)


@dataclass(frozen=True)
class Past:
    """The results of a job's earlier attempts: every checkpoint, newest first, and the seconds they held seats.

    A host resumes from the first checkpoint that verifies, or starts from step 0 if none does.
    """

    checkpoints: tuple[CheckpointRef, ...]
    occupied_s: float


@dataclass(frozen=True)
class AttachSeats:
    """ADMITTED -> STARTING, once the host has loaded its base."""

    db: Database
    cluster: Cluster

    def run_once(self, now: datetime) -> Counts:
        """Attach every admitted job whose host is ready. The call precedes the write; both may be repeated."""
        counts = Counts()
        with self.db.read() as session:
            ready = [(job, host_id, _past(session, job, now)) for job, host_id in _ready_to_attach(session)]
        for job, host_id, past in ready:
            counts[self._attach(job, host_id, past, now)] += 1
        return counts

    def _attach(self, job: JobRow, host_id: str, past: Past, now: datetime) -> str:
        try:
            self.cluster.attach(host_id, _order(job, past))
        except (HostGone, HostUnreachable):
            return "unreachable"  # ReconcileHosts decides what happens to it
        except HostFull:
            return "full"  # another seat is leaving: retried until ADMITTED's deadline
        except MaxRuntimeExceeded as error:
            return self._refused(job, AttemptEnd(ExitClass.USER, error.code, str(error)), now)
        except ValidationError as error:
            log.error("spec cannot be read", job=job.id, problems=error.error_count())
            return self._refused(job, UNREADABLE, now)
        except WorkerError as error:
            return self._refused(job, AttemptEnd(ExitClass.INFRA, error.code, str(error)), now)
        failpoint("seats.attached")
        with self.db.write() as session:
            event = EventDraft("Preparing the data", data={"host": host_id, "attempt": job.attempt})
            moved = transition(session, JobRef.of(job), JobState.STARTING, event, now=now)
            if moved:
                start_clock(session, moved, now)
        return "attached" if moved else "stale"

    def _refused(self, job: JobRow, end: AttemptEnd, now: datetime) -> str:
        with self.db.write() as session:
            row = session.scalars(select(JobRow).where(JobRow.id == job.id)).one()
            end_attempt(session, Seated(row, JobRef.of(job)), end, now)
        return "refused"


@dataclass(frozen=True)
class StopSeats:
    """STOPPING: tells hosts at every pass to vacate the seats. The hosts' reports then end the attempts."""

    db: Database
    cluster: Cluster

    def run_once(self, now: datetime) -> Counts:
        """Detach every stopping seat. If its host is not reachable, the next pass retries."""
        counts = Counts()
        with self.db.read() as session:
            stopping = list(session.execute(_live().where(JobRow.state == JobState.STOPPING)))
        for job, host_id in stopping:
            try:
                self.cluster.detach(host_id, job.id, job.attempt, _how(job))
                failpoint("seats.detached")
                counts["detached"] += 1
            except (HostGone, HostUnreachable, WorkerError):
                counts["unreachable"] += 1
        return counts


def _how(job: JobRow) -> ExitClass:
    """A job that will resume saves a checkpoint first. A stuck job does not: saving would hang too."""
    goes_on = job.stop_reason in SAVING and job.desired != Desired.CANCEL
    return ExitClass.PREEMPTED if goes_on else ExitClass.CANCELLED


def _live() -> Select[JobRow, str]:
    return (
        select(JobRow, AttemptRow.host_id)
        .join(AttemptRow, (AttemptRow.job_id == JobRow.id) & (AttemptRow.number == JobRow.attempt))
        .where(AttemptRow.ended_at.is_(None), JobRow.finished_at.is_(None))
        .order_by(AttemptRow.started_at, JobRow.seq)
    )


def _ready_to_attach(session: Session) -> Sequence[tuple[JobRow, str]]:
    query = _live().join(HostRow, HostRow.id == AttemptRow.host_id)
    wanted = query.where(JobRow.state == JobState.ADMITTED, HostRow.state == HostState.READY)
    return [(job, host_id) for job, host_id in session.execute(wanted)]


def _past(session: Session, job: JobRow, now: datetime) -> Past:
    rows = session.scalars(
        select(CheckpointRow)
        .where(CheckpointRow.job_id == job.id, CheckpointRow.state == "committed")
        .order_by(CheckpointRow.step.desc(), CheckpointRow.seq.desc())
    )
    refs = (CheckpointRef(uri=row.uri, step=row.step, manifest_sha256=row.manifest_sha256) for row in rows)
    return Past(tuple(refs), occupied_s(session, job.id, now))


def _order(job: JobRow, past: Past) -> SeatAssignment:
    """The seat assignment for the host. Raises: ValidationError for an unreadable spec; MaxRuntimeExceeded;
    EncodedRowsLost for a job of a version that encoded on hosts.
    """
    if job.lease_token is None:
        raise RuntimeError(f"{job.id} is admitted without a lease, which the schema forbids")
    spec = JobSpec.model_validate(job.spec)
    if any(file is not None and file.encoded is None for file in (spec.data.training, spec.data.validation)):
        raise EncodedRowsLost("The job was queued before its rows were encoded; that is done now.")
    left_s = spec.limits.max_runtime_s - past.occupied_s
    if left_s < MIN_RUNTIME_S:
        raise MaxRuntimeExceeded(RUNTIME_SPENT)
    return SeatAssignment(
        spec=spec,
        attempt=job.attempt,
        lease_token=job.lease_token,
        resume_from=past.checkpoints,
        runtime_left_s=left_s,
    )

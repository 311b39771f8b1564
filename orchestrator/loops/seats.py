"""Seats: attach the admitted, detach the unwanted."""

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
from orchestrator.db.tables import HostRow
from orchestrator.jobs.ends import UNREADABLE_SPEC, AttemptEnd
from orchestrator.jobs.events import EventDraft
from orchestrator.jobs.states import Desired, JobState
from orchestrator.jobs.transition import JobRef, transition
from orchestrator.loops.counts import Counts
from orchestrator.loops.reports import Seated, end_attempt
from workers.contract.errors import HostFull, WorkerError
from workers.contract.failpoints import failpoint
from workers.contract.reports import ExitClass
from workers.contract.spec import CheckpointRef, JobSpec, SeatOrder

log = structlog.get_logger()

RESUME_CANDIDATES = 5  # checkpoints offered to a new attempt, newest first

UNSEATED = (JobState.VALIDATING, JobState.QUEUED, JobState.BACKOFF, JobState.PAUSED)
STOPPABLE = (JobState.ADMITTED, JobState.STARTING, JobState.RUNNING)
UNREADABLE = AttemptEnd(ExitClass.INFRA, message=UNREADABLE_SPEC, retryable=False)


@dataclass(frozen=True)
class AttachSeats:
    """ADMITTED -> STARTING, once the host holds its base."""

    db: Database
    cluster: Cluster

    def run_once(self, now: datetime) -> Counts:
        """Attach every admitted job whose host is ready. The call comes before the write: both may be repeated."""
        counts = Counts()
        with self.db.read() as session:
            ready = [(job, host_id, _candidates(session, job)) for job, host_id in _ready_to_attach(session)]
        for job, host_id, candidates in ready:
            counts[self._attach(job, host_id, candidates, now)] += 1
        return counts

    def _attach(self, job: JobRow, host_id: str, candidates: tuple[CheckpointRef, ...], now: datetime) -> str:
        try:
            self.cluster.attach(host_id, _order(job, candidates))
        except (HostGone, HostUnreachable):
            return "unreachable"  # the hosts step decides what became of it
        except HostFull:
            return "full"  # somebody is on the way out: asked again until the deadline of ADMITTED
        except ValidationError as error:
            log.error("spec cannot be read", job=job.id, problems=error.error_count())
            return self._refused(job, UNREADABLE, now)
        except WorkerError as error:
            return self._refused(job, AttemptEnd(ExitClass.INFRA, error.code, str(error)), now)
        failpoint("seats.attached")
        with self.db.write() as session:
            event = EventDraft("Preparing the data", data={"host": host_id, "attempt": job.attempt})
            moved = transition(session, JobRef.of(job), JobState.STARTING, event, now=now)
        return "attached" if moved else "stale"

    def _refused(self, job: JobRow, end: AttemptEnd, now: datetime) -> str:
        with self.db.write() as session:
            row = session.scalars(select(JobRow).where(JobRow.id == job.id)).one()
            end_attempt(session, Seated(row, JobRef.of(job)), end, now)
        return "refused"


@dataclass(frozen=True)
class StopSeats:
    """Jobs that are no longer wanted: unseated ones end at once, seated ones are told to give their seat up."""

    db: Database
    cluster: Cluster

    def run_once(self, now: datetime) -> Counts:
        """Act on every live job whose owner wants it cancelled."""
        counts = Counts()
        with self.db.read() as session:
            unwanted = select(JobRow).where(JobRow.finished_at.is_(None), JobRow.desired == Desired.CANCEL)
            unseated = [JobRef.of(row) for row in session.scalars(unwanted.where(JobRow.state.in_(UNSEATED)))]
            stoppable = [JobRef.of(row) for row in session.scalars(unwanted.where(JobRow.state.in_(STOPPABLE)))]
        for ref in unseated:
            counts[self._move(ref, JobState.CANCELLED, "Fine-tuning job cancelled", now)] += 1
        for ref in stoppable:
            counts[self._move(ref, JobState.STOPPING, "Cancel requested, stopping after this step", now)] += 1
        for ref, host_id in self._stopping():
            try:
                self.cluster.detach(host_id, ref.id, ref.attempt, ExitClass.CANCELLED)
                failpoint("seats.detached")
                counts["detached"] += 1
            except (HostGone, HostUnreachable, WorkerError):
                counts["unreachable"] += 1
        return counts

    def _move(self, ref: JobRef, to: JobState, message: str, now: datetime) -> str:
        with self.db.write() as session:
            moved = transition(session, ref, to, EventDraft(message), now=now)
        return str(to) if moved else "stale"

    def _stopping(self) -> list[tuple[JobRef, str]]:
        with self.db.read() as session:
            return [
                (JobRef.of(job), host_id) for job, host_id in session.execute(_live().where(JobRow.state == "stopping"))
            ]


def _live() -> Select[JobRow, str]:
    return (
        select(JobRow, AttemptRow.host_id)
        .join(AttemptRow, (AttemptRow.job_id == JobRow.id) & (AttemptRow.number == JobRow.attempt))
        .where(AttemptRow.ended_at.is_(None))
        .order_by(JobRow.priority.desc(), JobRow.seq)
    )


def _ready_to_attach(session: Session) -> Sequence[tuple[JobRow, str]]:
    query = _live().join(HostRow, HostRow.id == AttemptRow.host_id)
    wanted = query.where(JobRow.state == JobState.ADMITTED, HostRow.state == HostState.READY)
    return [(job, host_id) for job, host_id in session.execute(wanted)]


def _candidates(session: Session, job: JobRow) -> tuple[CheckpointRef, ...]:
    rows = session.scalars(
        select(CheckpointRow)
        .where(CheckpointRow.job_id == job.id, CheckpointRow.state == "committed")
        .order_by(CheckpointRow.step.desc(), CheckpointRow.seq.desc())
        .limit(RESUME_CANDIDATES)
    )
    return tuple(CheckpointRef(uri=row.uri, step=row.step, manifest_sha256=row.manifest_sha256) for row in rows)


def _order(job: JobRow, candidates: tuple[CheckpointRef, ...]) -> SeatOrder:
    """What the host is asked to do. Raises: ValidationError when the job's spec cannot be read."""
    if job.lease_token is None:
        raise RuntimeError(f"{job.id} is admitted without a lease; the schema forbids it")
    spec = JobSpec.model_validate(job.spec)
    return SeatOrder(spec=spec, attempt=job.attempt, lease_token=job.lease_token, resume_from=candidates)

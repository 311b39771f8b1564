"""Hosts: start the wanted ones, poll the living, bury the dead, kill the unwanted."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from orchestrator.catalogue.entries import Catalogue
from orchestrator.cluster.port import Cluster, HostGone, HostUnreachable
from orchestrator.db.database import Database
from orchestrator.db.host_states import HOLDS_DEVICE, LIVE, HostState
from orchestrator.db.job_tables import AttemptRow, JobRow
from orchestrator.db.tables import HostRow
from orchestrator.jobs.ends import AttemptEnd
from orchestrator.jobs.states import SEATED, JobState
from orchestrator.jobs.transition import JobRef
from orchestrator.loops.counts import Counts
from orchestrator.loops.reports import Seated, apply_report, end_attempt
from workers.contract.errors import ErrorCode
from workers.contract.reports import ExitClass, HostPhase, HostReport
from workers.contract.spec import HostSpec

log = structlog.get_logger()

LOAD_DEADLINE_S = 1_800  # a host that is still loading after this long is given up

FATAL_TO_JOBS = frozenset({ErrorCode.BASE_REFUSED, ErrorCode.BASE_DIGEST_MISMATCH})
"""Load errors that another host of the same base would meet too."""


@dataclass
class TendHosts:
    """Keeps host rows and the cluster in step, and brings in what hosts report."""

    db: Database
    cluster: Cluster
    catalogue: Catalogue
    lease_ttl_s: int
    _silent_since: dict[str, datetime] = field(default_factory=dict)
    """Since when a host has not answered *this* process. A restarted orchestrator first asks again."""
    _started: set[str] = field(default_factory=set)
    """Hosts this process started: when one of them is missing, it died."""

    def run_once(self, now: datetime) -> Counts:
        """One pass over every host that holds a device."""
        counts = Counts()
        with self.db.read() as session:
            hosts = session.scalars(select(HostRow).where(HostRow.state.in_(HOLDS_DEVICE)).order_by(HostRow.id)).all()
        try:
            alive = self.cluster.host_ids()
        except HostUnreachable as error:
            log.warning("cluster does not answer", error=str(error))
            counts["cluster_unreachable"] += 1
            return counts
        for stray in alive - {host.id for host in hosts}:
            counts[self._kill_stray(stray)] += 1
        for host in hosts:
            try:
                counts[self._tend(host, alive, now)] += 1
            except HostGone:
                counts[self._bury(host, "The host died.", now)] += 1
            except HostUnreachable as error:
                counts[self._unreachable(host, str(error), now)] += 1
            else:
                self._silent_since.pop(host.id, None)
        return counts

    def _tend(self, host: HostRow, alive: frozenset[str], now: datetime) -> str:
        if host.state == HostState.STOPPING:
            self.cluster.stop_host(host.id)
            return self._bury(host, host.error or "The host was retired.", now)
        if host.id not in alive:
            return self._start(host)
        report = self.cluster.poll(host.id, host.cursor)
        late = report.phase is HostPhase.LOADING and now - host.created_at > timedelta(seconds=LOAD_DEADLINE_S)
        if late or report.phase is HostPhase.FAILED:
            return self._failed_to_load(host, report, now)
        with self.db.write() as session:
            return _take_in(session, host, report, now, self.lease_ttl_s)

    def _start(self, host: HostRow) -> str:
        """Start what is wanted. A host that had lived before is never started again under its name."""
        flavor = self.catalogue.flavor(host.flavor)
        if host.last_seen_at is not None or host.id in self._started or flavor is None:
            raise HostGone(host.id)
        self.cluster.start_host(HostSpec.model_validate(host.spec), flavor.resources)
        self._started.add(host.id)
        return "started"

    def _failed_to_load(self, host: HostRow, report: HostReport, now: datetime) -> str:
        self.cluster.stop_host(host.id)
        code = report.error_code or ErrorCode.BASE_UNAVAILABLE
        return self._bury(host, report.error or "The base could not be loaded.", now, code)

    def _unreachable(self, host: HostRow, why: str, now: datetime) -> str:
        """UNKNOWN is not DEAD: wait a lease's length of silence, then make it dead before saying so."""
        since = self._silent_since.setdefault(host.id, now)
        log.warning("host does not answer", host=host.id, since=since.isoformat(), error=why)
        if now - since < timedelta(seconds=self.lease_ttl_s):
            return "unreachable"
        try:
            self.cluster.stop_host(host.id)
        except HostUnreachable:
            return "unreachable"
        return self._bury(host, f"The host did not answer for {self.lease_ttl_s} s and was ended.", now)

    def _bury(self, host: HostRow, why: str, now: datetime, code: ErrorCode = ErrorCode.HOST_LOST) -> str:
        """Write the host off and end the attempts it still held."""
        self._silent_since.pop(host.id, None)
        self._started.discard(host.id)
        end = AttemptEnd(ExitClass.INFRA, code, why, retryable=code not in FATAL_TO_JOBS)
        with self.db.write() as session:
            for seated in _seated_on(session, host.id):
                end_attempt(session, seated, end, now)
            gone = {"state": HostState.GONE, "ended_at": now, "error": why}
            session.execute(update(HostRow).where(HostRow.id == host.id).values(**gone))
        log.info("host ended", host=host.id, why=why)
        return "buried"

    def _kill_stray(self, host_id: str) -> str:
        """A host in the cluster that no row wants: left over from a lost database or a crash. End it."""
        try:
            self.cluster.stop_host(host_id)
        except (HostGone, HostUnreachable):
            return "stray_unreachable"
        log.warning("stray host ended", host=host_id)
        return "stray_killed"


def _take_in(session: Session, host: HostRow, report: HostReport, now: datetime, lease_ttl_s: int) -> str:
    """Apply a host's reports and renew the leases of its seats, all or nothing."""
    for numbered in report.reports:
        if not apply_report(session, numbered.report, now):
            log.info("stale report dropped", host=host.id, job=numbered.report.job_id, kind=numbered.report.kind)
    cursor = report.reports[-1].seq if report.reports else host.cursor
    fresh = session.get_one(HostRow, host.id, populate_existing=True)
    if fresh.state not in LIVE:
        return "stopping"
    fresh.cursor, fresh.last_seen_at = cursor, now
    fresh.base_digest = report.base_digest or fresh.base_digest
    fresh.base_folder = report.base_folder or fresh.base_folder
    fresh.base_loads, fresh.load_seconds = report.base_loads, report.load_seconds
    fresh.resident_bytes, fresh.pid = report.memory_bytes, report.pid
    if report.phase is HostPhase.READY and fresh.state == HostState.STARTING:
        fresh.state, fresh.ready_at = HostState.READY, now
    seats = _seated_on(session, host.id)
    fresh.idle_since = None if seats else fresh.idle_since or now
    renewed = now + timedelta(seconds=lease_ttl_s)
    for seated in seats:
        if seated.ref.state is not JobState.ADMITTED and seated.ref.id not in report.seats:
            _lost_seat(session, seated, now)
            continue
        live = (AttemptRow.job_id == seated.ref.id, AttemptRow.number == seated.ref.attempt)
        session.execute(update(AttemptRow).where(*live).values(lease_until=renewed))
    return "polled"


def _lost_seat(session: Session, seated: Seated, now: datetime) -> None:
    """The host has no such seat and reported no outcome for it: it never began, or it was told to stop before."""
    lost = AttemptEnd(ExitClass.INFRA, ErrorCode.HOST_LOST, "The host no longer has a seat for it.")
    stopped = AttemptEnd(ExitClass.CANCELLED)
    end_attempt(session, seated, stopped if seated.ref.state is JobState.STOPPING else lost, now)


def _seated_on(session: Session, host_id: str) -> list[Seated]:
    rows = session.scalars(
        select(JobRow)
        .join(AttemptRow, (AttemptRow.job_id == JobRow.id) & (AttemptRow.number == JobRow.attempt))
        .where(AttemptRow.host_id == host_id, AttemptRow.ended_at.is_(None), JobRow.state.in_(SEATED))
        .order_by(JobRow.seq)
        .execution_options(populate_existing=True)
    ).all()
    return [Seated(row, JobRef.of(row)) for row in rows]

"""Ingests a host's answer: seat reports, lease renewals, and the host's own status."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import select, update
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from orchestrator.bases.marks import lift
from orchestrator.db.host_states import HOLDS_DEVICE, HostState
from orchestrator.db.job_tables import AttemptRow, JobRow
from orchestrator.db.states import SEATED, JobState
from orchestrator.db.tables import HostRow
from orchestrator.hosts.base_integrity import note_base
from orchestrator.hosts.reports import apply_report
from orchestrator.lifecycle.attempts import Seated, end_attempt
from orchestrator.lifecycle.retry_policy import AttemptEnd
from orchestrator.lifecycle.transition import IllegalTransition, JobRef
from workers.contract.errors import ErrorCode
from workers.contract.reports import ExitClass, Heartbeat, HostPhase, HostReport, Report

log = structlog.get_logger()

RENEWALS_PER_LEASE: Final = 10
"""Minimum renewals per lease. Polls in between that carry no reports write nothing."""
ATTACHED: Final = tuple(SEATED - {JobState.ADMITTED})


class StaleAnswer(Exception):
    """Another process ingested the same reports or marked the host GONE. This answer must not be written."""


@dataclass(frozen=True)
class PollRequest:
    """The host's database state before the poll. Its answer is interpreted against this, not against later changes."""

    host_id: str
    cursor: int
    attached: frozenset[tuple[str, int]]
    """Attempts (job, number) with a seat on the host."""


def held_hosts(session: Session) -> list[tuple[HostRow, PollRequest]]:
    """Every host that holds a device, by id, with its poll request."""
    live = (AttemptRow.job_id == JobRow.id, AttemptRow.number == JobRow.attempt, AttemptRow.ended_at.is_(None))
    query = select(AttemptRow.host_id, JobRow.id, JobRow.attempt).where(*live, JobRow.state.in_(ATTACHED))
    attached: dict[str, set[tuple[str, int]]] = {}
    for host_id, job_id, attempt in session.execute(query):
        attached.setdefault(host_id, set()).add((job_id, attempt))
    hosts = session.scalars(select(HostRow).where(HostRow.state.in_(HOLDS_DEVICE)).order_by(HostRow.id))
    return [(host, PollRequest(host.id, host.cursor, frozenset(attached.get(host.id, ())))) for host in hosts]


@dataclass(frozen=True)
class ReportIngest:
    """Writes the answer of one host to the database, atomically."""

    lease_ttl_s: int

    def take(self, session: Session, asked: PollRequest, answer: HostReport, now: datetime) -> list[tuple[str, int]]:
        """Apply reports and renew leases. Returns the seats (job, attempt) whose attempts no longer hold a lease, so
        that the caller can detach them. Raises: StaleAnswer.
        """
        news = [numbered.report for numbered in answer.reports if not isinstance(numbered.report, Heartbeat)]
        host = session.get_one(HostRow, asked.host_id, populate_existing=True)
        pause = timedelta(seconds=self.lease_ttl_s / RENEWALS_PER_LEASE)
        if news or host.last_seen_at is None or now - host.last_seen_at >= pause:
            self._renew(session, asked, answer, now)
        for report in news:
            if not _applied(session, report, now):
                log.info("report dropped", host=host.id, job=report.job_id, attempt=report.attempt, kind=report.kind)
        seats = seated_on(session, asked.host_id)
        _describe(session, host, answer, now)
        note_base(session, host, answer, now)
        host.idle_since = None if seats else host.idle_since or now
        for seated in seats:
            if seated.key in asked.attached and seated.ref.id not in answer.seats:
                _lost_seat(session, seated, now)
        held = {seated.key for seated in seats}
        beating = {(beat.job_id, beat.attempt) for beat in heartbeats(answer) if beat.job_id in answer.seats}
        return sorted(beating - held)

    def _renew(self, session: Session, asked: PollRequest, answer: HostReport, now: datetime) -> None:
        """Advance the cursor by compare-and-set, which claims the reports. Then renew the leases."""
        cursor = answer.reports[-1].seq if answer.reports else asked.cursor
        unmoved = (HostRow.id == asked.host_id, HostRow.cursor == asked.cursor, HostRow.state.in_(HOLDS_DEVICE))
        values = {
            "cursor": cursor,
            "last_seen_at": now,
            "resident_bytes": answer.memory_bytes,
            "budget_tokens": answer.budget_tokens,
        }
        if session.execute(update(HostRow).where(*unmoved).values(**values).returning(HostRow.id)).first() is None:
            raise StaleAnswer(asked.host_id)
        held = (AttemptRow.host_id == asked.host_id, AttemptRow.ended_at.is_(None))
        session.execute(update(AttemptRow).where(*held).values(lease_until=now + timedelta(seconds=self.lease_ttl_s)))


def heartbeats(answer: HostReport) -> list[Heartbeat]:
    """Those in the host's answer."""
    return [numbered.report for numbered in answer.reports if isinstance(numbered.report, Heartbeat)]


def seated_on(session: Session, host_id: str) -> list[Seated]:
    """The jobs whose live attempt has its seat on the host, oldest first."""
    rows = session.scalars(
        select(JobRow)
        .join(AttemptRow, (AttemptRow.job_id == JobRow.id) & (AttemptRow.number == JobRow.attempt))
        .where(AttemptRow.host_id == host_id, AttemptRow.ended_at.is_(None), JobRow.state.in_(SEATED))
        .order_by(JobRow.seq)
        .execution_options(populate_existing=True)
    ).all()
    return [Seated(row, JobRef.of(row)) for row in rows]


def _applied(session: Session, report: Report, now: datetime) -> bool:
    """False: stale, or not storable. One bad report must not block those after it."""
    try:
        with session.begin_nested():
            return apply_report(session, report, now)
    except (DataError, IntegrityError, IllegalTransition, ValueError):
        log.exception("report refused", job=report.job_id, attempt=report.attempt, kind=report.kind)
        return False


def _describe(session: Session, host: HostRow, answer: HostReport, now: datetime) -> None:
    host.base_digest = answer.base_digest or host.base_digest
    host.base_folder = answer.base_folder or host.base_folder
    host.base_loads, host.load_seconds, host.pid = answer.base_loads, answer.load_seconds, answer.pid
    if answer.footprint is not None:
        host.memory_bytes = answer.footprint.resident_bytes
        host.activation_bytes = answer.footprint.activation_bytes
        host.recomputed_bytes = answer.footprint.recomputed_bytes
    if answer.phase is HostPhase.READY and host.state == HostState.STARTING:
        still = (HostRow.id == host.id, HostRow.state == HostState.STARTING)
        session.execute(update(HostRow).where(*still).values(state=HostState.READY, ready_at=now))
        lift(session, host)  # it loads: whichever host failed over it was at fault itself


def _lost_seat(session: Session, seated: Seated, now: datetime) -> None:
    """The host has no such seat and reported no outcome: it never started, or was told to stop before it did."""
    lost = AttemptEnd(ExitClass.INFRA, ErrorCode.HOST_LOST, "The host no longer has a seat for it.")
    stopped = AttemptEnd(ExitClass.CANCELLED)
    end_attempt(session, seated, stopped if seated.ref.state is JobState.STOPPING else lost, now)

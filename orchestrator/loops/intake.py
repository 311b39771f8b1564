"""Taking in what a host answered: the reports of its seats, their leases, and what it says of itself."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import select, update
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from orchestrator.db.host_states import HostState
from orchestrator.db.job_tables import AttemptRow, JobRow
from orchestrator.db.tables import HostRow
from orchestrator.jobs.ends import AttemptEnd
from orchestrator.jobs.states import SEATED, JobState
from orchestrator.jobs.transition import IllegalTransition, JobRef
from orchestrator.loops.reports import Seated, apply_report, end_attempt
from workers.contract.errors import ErrorCode
from workers.contract.reports import ExitClass, Heartbeat, HostPhase, HostReport, Report

log = structlog.get_logger()

RENEWALS_PER_LEASE: Final = 10
"""How often a lease is renewed at least. Polls in between that bring no news write nothing."""


@dataclass(frozen=True)
class Intake:
    """Brings the answer of one host to the books, all or nothing."""

    lease_ttl_s: int

    def take(self, session: Session, host_id: str, answer: HostReport, now: datetime) -> list[tuple[str, int]]:
        """Apply reports and renew leases. Returns the seats (job, attempt) whose attempts hold no lease any more:
        the host is to be told that they must leave.
        """
        news = [numbered.report for numbered in answer.reports if not isinstance(numbered.report, Heartbeat)]
        for report in news:
            if not _applied(session, report, now):
                log.info("report dropped", host=host_id, job=report.job_id, attempt=report.attempt, kind=report.kind)
        host = session.get_one(HostRow, host_id, populate_existing=True)
        seats = seated_on(session, host_id)
        _describe(host, answer, now)
        host.idle_since = None if seats else host.idle_since or now
        pause = timedelta(seconds=self.lease_ttl_s / RENEWALS_PER_LEASE)
        if news or host.last_seen_at is None or now - host.last_seen_at >= pause:
            self._renew(session, host, answer, now)
        for seated in seats:
            if seated.ref.state is not JobState.ADMITTED and seated.ref.id not in answer.seats:
                _lost_seat(session, seated, now)
        held = {(seated.ref.id, seated.ref.attempt) for seated in seats}
        pulses = (numbered.report for numbered in answer.reports if isinstance(numbered.report, Heartbeat))
        beating = {(pulse.job_id, pulse.attempt) for pulse in pulses if pulse.job_id in answer.seats}
        return sorted(beating - held)

    def _renew(self, session: Session, host: HostRow, answer: HostReport, now: datetime) -> None:
        host.last_seen_at, host.resident_bytes = now, answer.memory_bytes
        host.budget_tokens = answer.budget_tokens
        if answer.reports:
            host.cursor = answer.reports[-1].seq
        held = (AttemptRow.host_id == host.id, AttemptRow.ended_at.is_(None))
        session.execute(update(AttemptRow).where(*held).values(lease_until=now + timedelta(seconds=self.lease_ttl_s)))


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
    """False: stale, or nothing that the books can hold. One bad report must not keep back all that follow it."""
    try:
        with session.begin_nested():
            return apply_report(session, report, now)
    except (DataError, IntegrityError, IllegalTransition, ValueError):
        log.exception("report refused", job=report.job_id, attempt=report.attempt, kind=report.kind)
        return False


def _describe(host: HostRow, answer: HostReport, now: datetime) -> None:
    host.base_digest = answer.base_digest or host.base_digest
    host.base_folder = answer.base_folder or host.base_folder
    host.base_loads, host.load_seconds, host.pid = answer.base_loads, answer.load_seconds, answer.pid
    if answer.footprint is not None:
        host.memory_bytes = answer.footprint.resident_bytes
        host.activation_bytes = answer.footprint.activation_bytes
        host.recomputed_bytes = answer.footprint.recomputed_bytes
    if answer.phase is HostPhase.READY and host.state == HostState.STARTING:
        host.state, host.ready_at = HostState.READY, now


def _lost_seat(session: Session, seated: Seated, now: datetime) -> None:
    """The host has no such seat and reported no outcome for it: it never began, or it was told to stop before."""
    lost = AttemptEnd(ExitClass.INFRA, ErrorCode.HOST_LOST, "The host no longer has a seat for it.")
    stopped = AttemptEnd(ExitClass.CANCELLED)
    end_attempt(session, seated, stopped if seated.ref.state is JobState.STOPPING else lost, now)

"""Records the end of a host: first STOPPING, then GONE once it is known to be dead."""

from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import Row, select, update
from sqlalchemy.orm import Session

from orchestrator.bases.marks import mark
from orchestrator.db.database import Database
from orchestrator.db.host_states import HOLDS_DEVICE, HostState
from orchestrator.db.job_tables import AttemptRow
from orchestrator.db.tables import HostRow
from orchestrator.hosts.report_ingest import seated_on
from orchestrator.lifecycle.attempts import end_attempt
from orchestrator.lifecycle.retry_policy import AttemptEnd
from workers.contract.errors import FAULTS_OF_A_BASE, ErrorCode
from workers.contract.failpoints import failpoint
from workers.contract.reports import ExitClass

log = structlog.get_logger()


@dataclass(frozen=True)
class HostReaper:
    """Writes the end of hosts to the database. It makes no cluster calls."""

    db: Database

    def mark_stopping(self, host_id: str, why: str, now: datetime, code: ErrorCode | None = None) -> bool:
        """Mark the host for killing, which every pass tries until the host is gone. False: it is already gone.

        `code` is what the host said of its end. A fault of its base is marked in the same transaction.
        """
        failpoint("hosts.failed")
        with self.db.write() as session:
            moved = _move(session, host_id, state=HostState.STOPPING, error=why, stop_by=None)
            if moved is not None and code is not None:
                host = session.get_one(HostRow, host_id, populate_existing=True)
                host.error_code = _fault(session, host, code, why, now)
        failpoint("hosts.marked_stopping")
        return moved is not None

    def mark_gone(self, host_id: str, why: str, now: datetime) -> str:
        """The host is dead: mark it GONE and end the attempts that still hold a seat on it."""
        failpoint("hosts.stopped")
        with self.db.write() as session:
            # The host row first, to lock it: a concurrent admission either commits before this or fails.
            moved = _move(session, host_id, state=HostState.GONE, ended_at=now, error=why)
            if moved is None:
                return "stale"
            code = ErrorCode(moved.error_code or ErrorCode.HOST_LOST)
            end = AttemptEnd(ExitClass.INFRA, code, why, retryable=code not in FAULTS_OF_A_BASE)
            for seated in seated_on(session, host_id):
                end_attempt(session, seated, end, now)
        log.info("host ended", host=host_id, why=why)
        return "host_gone"

    def lease_until(self, host_id: str) -> datetime | None:
        """When the last lease of the host's seats expires. None: it has no seat."""
        live = (AttemptRow.host_id == host_id, AttemptRow.ended_at.is_(None))
        with self.db.read() as session:
            return session.scalars(
                select(AttemptRow.lease_until).where(*live).order_by(AttemptRow.lease_until.desc()).limit(1)
            ).first()


def _fault(session: Session, host: HostRow, code: ErrorCode, why: str, now: datetime) -> ErrorCode:
    """The code to end the host's attempts with. Where another host holds the same base, this machine is at fault."""
    if code in FAULTS_OF_A_BASE and not mark(session, host, code, why, now):
        return ErrorCode.BASE_UNAVAILABLE
    return code


def _move(session: Session, host_id: str, **values: object) -> Row[str | None] | None:
    """The code of the host's end so far; None: the host is gone."""
    held = (HostRow.id == host_id, HostRow.state.in_(HOLDS_DEVICE))
    return session.execute(update(HostRow).where(*held).values(**values).returning(HostRow.error_code)).first()

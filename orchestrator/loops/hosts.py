"""Hosts: start the wanted ones, poll the living, bury the dead, kill the unwanted."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.catalogue.entries import Catalogue
from orchestrator.cluster.port import Cluster, HostGone, HostUnreachable
from orchestrator.db.database import Database
from orchestrator.db.host_states import HOLDS_DEVICE, HostState
from orchestrator.db.tables import HostRow
from orchestrator.jobs.ends import AttemptEnd
from orchestrator.loops.counts import Counts
from orchestrator.loops.intake import Intake, seated_on
from orchestrator.loops.reports import end_attempt
from workers.contract.errors import ErrorCode
from workers.contract.failpoints import failpoint
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
            self._silent_since.clear()  # nobody could be asked, so nobody was silent
            counts["cluster_unreachable"] += 1
            return counts
        for stray in alive - {host.id for host in hosts}:
            counts[self._kill_stray(stray)] += 1
        for host in hosts:
            try:
                counts[self._outcome(host, alive, now)] += 1
            except Exception:  # a database that is away, or a bug; no reason to end a host, or to leave out the others
                log.exception("host not tended", host=host.id)
                counts["errors"] += 1
        return counts

    def _outcome(self, host: HostRow, alive: frozenset[str], now: datetime) -> str:
        try:
            done = self._tend(host, alive, now)
        except HostGone:
            return self._bury(host, "The host died.", now)
        except HostUnreachable as error:
            return self._unreachable(host, str(error), now)
        except SQLAlchemyError:
            raise
        except Exception as error:  # a host that answers nonsense tells us as little as a silent one
            log.exception("host answers nonsense", host=host.id)
            return self._unreachable(host, type(error).__name__, now)
        self._silent_since.pop(host.id, None)
        return done

    def _tend(self, host: HostRow, alive: frozenset[str], now: datetime) -> str:
        if host.state == HostState.STOPPING:
            self.cluster.stop_host(host.id)
            return self._bury(host, host.error or "The host was retired.", now)
        if host.id not in alive:
            return self._start(host)
        report = self.cluster.poll(host.id, host.cursor)
        failpoint("hosts.polled")
        with self.db.write() as session:
            unwanted = Intake(self.lease_ttl_s).take(session, host.id, report, now)
        failpoint("hosts.taken")
        late = report.phase is HostPhase.LOADING and now - host.created_at > timedelta(seconds=LOAD_DEADLINE_S)
        if late or report.phase is HostPhase.FAILED:
            return self._failed_to_load(host, report, now)
        for job_id, attempt in unwanted:
            log.warning("seat without a lease is vacated", host=host.id, job=job_id, attempt=attempt)
            self.cluster.detach(host.id, job_id, attempt, ExitClass.CANCELLED)
        return "polled"

    def _start(self, host: HostRow) -> str:
        """Start what is wanted. A host that had lived before is never started again under its name."""
        flavor = self.catalogue.flavor(host.flavor)
        if host.last_seen_at is not None or host.id in self._started or flavor is None:
            raise HostGone(host.id)
        self.cluster.start_host(HostSpec.model_validate(host.spec), flavor.resources)
        failpoint("hosts.started")
        self._started.add(host.id)
        return "started"

    def _failed_to_load(self, host: HostRow, report: HostReport, now: datetime) -> str:
        self.cluster.stop_host(host.id)
        code = report.error_code or ErrorCode.BASE_UNAVAILABLE
        return self._bury(host, report.error or "The base could not be loaded.", now, code)

    def _unreachable(self, host: HostRow, why: str, now: datetime) -> str:
        """UNKNOWN is not DEAD: wait a lease's length of silence, then make it dead before saying so.

        A host that never answered may wait for resources or import its libraries: it has as long as one that loads.
        """
        since = self._silent_since.setdefault(host.id, now)
        log.warning("host does not answer", host=host.id, since=since.isoformat(), error=why)
        patience_s = LOAD_DEADLINE_S if host.last_seen_at is None else self.lease_ttl_s
        if now - since < timedelta(seconds=patience_s):
            return "unreachable"
        try:
            self.cluster.stop_host(host.id)
        except HostUnreachable:
            return "unreachable"
        return self._bury(host, f"The host did not answer for {patience_s} s and was ended.", now)

    def _bury(self, host: HostRow, why: str, now: datetime, code: ErrorCode = ErrorCode.HOST_LOST) -> str:
        """Write the host off and end the attempts it still held."""
        failpoint("hosts.stopped")
        self._silent_since.pop(host.id, None)
        self._started.discard(host.id)
        end = AttemptEnd(ExitClass.INFRA, code, why, retryable=code not in FATAL_TO_JOBS)
        with self.db.write() as session:
            for seated in seated_on(session, host.id):
                end_attempt(session, seated, end, now)
            gone = {"state": HostState.GONE, "ended_at": now, "error": why}
            session.execute(update(HostRow).where(HostRow.id == host.id).values(**gone))
        log.info("host ended", host=host.id, why=why)
        return "buried"

    def _kill_stray(self, host_id: str) -> str:
        """A host in the cluster that no row wants: left over from a lost database or a crash. End it."""
        try:
            self.cluster.stop_host(host_id)
        except Exception:  # whatever it is, the hosts that are wanted come next
            log.exception("stray host not ended", host=host_id)
            return "stray_unreachable"
        log.warning("stray host ended", host=host_id)
        return "stray_killed"

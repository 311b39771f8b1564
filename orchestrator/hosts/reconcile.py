"""Reconciles hosts: starts requested ones, polls live ones, marks dead ones, retires idle ones, kills orphans."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.catalogue.entries import Catalogue
from orchestrator.cluster.port import Cluster, HostGone, HostUnreachable
from orchestrator.db.database import Database
from orchestrator.db.host_states import HostState
from orchestrator.db.tables import HostRow
from orchestrator.hosts.failure_detector import LOAD_DEADLINE_S, FailureDetector, has_ended
from orchestrator.hosts.reaper import HostReaper
from orchestrator.hosts.report_ingest import PollRequest, ReportIngest, StaleAnswer, held_hosts
from orchestrator.hosts.stall_detector import StallDetector, StallLimits
from orchestrator.steps.step import Counts, LeadershipLost, log_step_error
from workers.contract.errors import ErrorCode
from workers.contract.failpoints import failpoint
from workers.contract.reports import ExitClass, HostPhase, HostReport
from workers.contract.spec import HostSpec

log = structlog.get_logger()


@dataclass
class ReconcileHosts:
    """Reconciles host rows with the cluster and ingests host reports.

    A host ends in three steps: mark its row STOPPING, kill it, mark its row GONE. This process may die after any of
    them. Only the last one ends its attempts.
    """

    db: Database
    cluster: Cluster
    catalogue: Catalogue
    lease_ttl_s: int
    stall_limits: StallLimits = field(default_factory=StallLimits)
    _started: set[str] = field(default_factory=set)
    """Hosts that this process started: a missing one has died."""

    def __post_init__(self) -> None:
        self._failure_detector = FailureDetector(self.lease_ttl_s)
        self._stall_detector = StallDetector(self.stall_limits)
        self._reaper = HostReaper(self.db)

    def run_once(self, now: datetime) -> Counts:
        """One pass over every host that holds a device."""
        try:
            alive = self.cluster.host_ids()  # before reading rows, so that every requested host listed here has one
        except HostUnreachable as error:
            return self._cluster_away(error, now)
        with self.db.read() as session:
            held = held_hosts(session)
        counts = Counts(self._kill_orphan(orphan) for orphan in alive - {host.id for host, _ in held})
        for host, poll_request in held:
            try:
                counts[self._outcome(host, poll_request, host.id in alive, now)] += 1
            except LeadershipLost:
                raise
            except Exception as error:  # noqa: BLE001  # must neither end this host nor skip the others
                counts[log_step_error(error, "ReconcileHosts", host=host.id)] += 1
        return counts

    def _outcome(self, host: HostRow, poll_request: PollRequest, listed: bool, now: datetime) -> str:
        try:
            done = self._reconcile(host, poll_request, listed, now)
        except HostGone:
            return self._mark_gone(host, _last_words(host), now)
        except HostUnreachable as error:
            return self._unreachable(host, str(error), now)
        except StaleAnswer:
            return "stale"
        except (SQLAlchemyError, LeadershipLost):
            raise
        except Exception as error:  # an invalid answer says as little as no answer
            log.exception("invalid answer from host", host=host.id)
            return self._unreachable(host, type(error).__name__, now)
        self._failure_detector.heard(host.id)
        return done

    def _reconcile(self, host: HostRow, poll_request: PollRequest, listed: bool, now: datetime) -> str:
        if host.state == HostState.STOPPING:
            return self._retire(host, poll_request, now)
        if not listed and host.last_seen_at is None and host.id not in self._started:
            return self._start(host)
        report, unwanted = self._ask(poll_request, now)
        why = self._why_end(host, report, now)
        if why is not None:
            return self._end(host, why, now, report.error_code)
        for job_id, attempt in unwanted:
            log.warning("detaching a seat without a lease", host=host.id, job=job_id, attempt=attempt)
            self.cluster.detach(host.id, job_id, attempt, ExitClass.CANCELLED)
        return "polled"

    def _ask(self, poll_request: PollRequest, now: datetime) -> tuple[HostReport, list[tuple[str, int]]]:
        """Poll and ingest the answer. Also returns the seats whose attempts no longer hold a lease."""
        report = self.cluster.poll(poll_request.host_id, poll_request.cursor)
        failpoint("hosts.polled")
        with self.db.write() as session:
            unwanted = ReportIngest(self.lease_ttl_s).take(session, poll_request, report, now)
        failpoint("hosts.taken")
        return report, unwanted

    def _why_end(self, host: HostRow, report: HostReport, now: datetime) -> str | None:
        match report.phase:
            case HostPhase.FAILED:
                return report.error or "The base could not be loaded."
            case HostPhase.RETIRED:
                return "The host retired because no orchestrator polled it for too long."
            case HostPhase.LOADING if now - host.created_at > timedelta(seconds=LOAD_DEADLINE_S):
                return f"The base was not loaded within {LOAD_DEADLINE_S} s."
        return self._stall_detector.stuck(report, now)

    def _start(self, host: HostRow) -> str:
        """Start a requested host. A host id is never started twice."""
        flavor = self.catalogue.flavor(host.flavor)
        if flavor is None:
            raise HostGone(host.id)
        self.cluster.start_host(HostSpec.model_validate(host.spec), flavor.resources)
        failpoint("hosts.started")
        self._started.add(host.id)
        return "started"

    def _retire(self, host: HostRow, poll_request: PollRequest, now: datetime) -> str:
        """A retired host may verify its base until `stop_by`. Without `stop_by` it is killed at once."""
        if _may_retire(host, now):
            self.cluster.retire(host.id)
            report, _ = self._ask(poll_request, now)
            if report.phase not in (HostPhase.RETIRED, HostPhase.FAILED):
                return "retiring"
        return self._end(host, _last_words(host), now)

    def _end(self, host: HostRow, why: str, now: datetime, code: ErrorCode | None = None) -> str:
        """Mark STOPPING, kill, mark GONE. Raises: HostUnreachable if the kill failed."""
        if not self._reaper.mark_stopping(host.id, why, now, code):
            return "stale"
        self.cluster.stop_host(host.id)
        return self._mark_gone(host, why, now)

    def _unreachable(self, host: HostRow, error: str, now: datetime) -> str:
        """UNKNOWN is not DEAD: kill the host first, or wait until its dead-man switch must have stopped it."""
        log.warning("host not reachable", host=host.id, error=error)
        why = self._failure_detector.too_long(host, self._reaper.lease_until(host.id), now)
        if why is None and (host.state != HostState.STOPPING or _may_retire(host, now)):
            return "unreachable"
        try:
            return self._end(host, why or _last_words(host), now)
        except (HostUnreachable, HostGone):
            return self._write_off(host, now)

    def _write_off(self, host: HostRow, now: datetime) -> str:
        if not has_ended(host, now):
            return "unreachable"
        return self._mark_gone(host, "The host was not reachable for longer than its dead-man timeout.", now)

    def _cluster_away(self, error: HostUnreachable, now: datetime) -> Counts:
        log.warning("cluster not reachable", error=str(error))
        self._failure_detector.not_polled()
        with self.db.read() as session:
            held = held_hosts(session)
        return Counts(cluster_unreachable=1) + Counts(self._write_off(host, now) for host, _ in held)

    def _mark_gone(self, host: HostRow, why: str, now: datetime) -> str:
        self._failure_detector.heard(host.id)
        self._stall_detector.forget(host.id)
        self._started.discard(host.id)
        return self._reaper.mark_gone(host.id, why, now)

    def _kill_orphan(self, host_id: str) -> str:
        """Kill a host that no row requests: a leftover of a lost database or a crash."""
        try:
            self.cluster.stop_host(host_id)
        except Exception:  # any error: the requested hosts come next
            log.exception("orphan host not killed", host=host_id)
            return "orphan_unreachable"
        log.warning("orphan host killed", host=host_id)
        return "orphan_killed"


def _last_words(host: HostRow) -> str:
    return host.error or ("The host was retired." if host.state == HostState.STOPPING else "The host died.")


def _may_retire(host: HostRow, now: datetime) -> bool:
    return host.stop_by is not None and now < host.stop_by

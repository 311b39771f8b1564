"""Steps that run only in the process that holds the role and write only in the term they began in."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from orchestrator.db.database import Database
from orchestrator.leadership.elector import Elector, fence
from orchestrator.leadership.lease import Grant
from orchestrator.steps.step import Counts, LeadershipLost, Step

log = structlog.get_logger()


@dataclass(frozen=True)
class RenewLeadership:
    """Takes or renews the role, or waits for it. Runs in its own loop, since passes of other loops may be slow."""

    role: Elector

    def run_once(self, now: datetime) -> Counts:
        """Renew once; run this `ROUNDS_PER_TTL` times per lease."""
        self.role.renew()
        return Counts()


class LeaderOnly:
    """A step built by `make(fenced database)` for each term of the role, so that it keeps no state across terms.

    While another process holds the role it does nothing and sends no queries. Each pass calls `heartbeat`.
    """

    def __init__(
        self,
        role: Elector,
        db: Database,
        make: Callable[[Database], Step],
        heartbeat: Callable[[], None] = lambda: None,
    ) -> None:
        self._role = role
        self._db = db
        self._make = make
        self._heartbeat = heartbeat
        self._led: tuple[Grant, Step] | None = None

    def run_once(self, now: datetime) -> Counts:
        """One pass, if the role is held."""
        self._heartbeat()  # without the role too: a process that stops beating could not take it again
        grant = self._role.grant
        if grant is None:
            self._led = None
            return Counts()
        if self._led is None or self._led[0] != grant:
            self._led = grant, self._make(self._db.fenced(fence(grant)))
        try:
            return self._led[1].run_once(now)
        except LeadershipLost as lost:
            log.warning("pass aborted", reason=str(lost))
            self._role.lost(grant)
            return Counts(role_lost=1)

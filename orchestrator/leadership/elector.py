"""Leader election for one role: a dedicated thread renews the lease, and a fence guards the role's writes."""

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.db.database import Database
from orchestrator.leadership.lease import Grant, acquire, give_back, holds, renew
from orchestrator.steps.step import LeadershipLost

MARGIN_S: Final = 2.0
"""How long before the lease expires in the database its holder considers it expired."""
ROUNDS_PER_TTL: Final = 5
log = structlog.get_logger()


def fence(grant: Grant) -> Callable[[Connection], None]:
    """For `Database.fenced`: a transaction proceeds only in this term, and no other term begins before it ends."""

    def require(connection: Connection) -> None:
        if not holds(connection, grant):
            raise LeadershipLost(f"term {grant.term} of the role {grant.name!r} is over")

    return require


class Elector:
    """The right of one process to act in a role. Thread-safe.

    One thread calls `renew`, `ROUNDS_PER_TTL` times per lease; the others read the `grant` they act under. A loop that
    hangs must not lead forever: the lease is renewed only while a loop calls `heartbeat` at least every `patience_s`.
    """

    def __init__(
        self,
        db: Database,
        name: str,
        holder: str,
        *,
        ttl_s: int = 15,
        patience_s: float = 120.0,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._name = name
        self._holder = holder
        self._ttl_s = ttl_s
        self._patience_s = patience_s
        self._ticks = ticks
        self._lock = threading.Lock()
        self._grant: Grant | None = None
        self._believed_until = 0.0
        self._heartbeat = 0.0

    @property
    def grant(self) -> Grant | None:
        """The grant this process holds, as far as it knows. None: it is a standby."""
        with self._lock:
            return self._grant if self._ticks() < self._believed_until else None

    def heartbeat(self) -> None:
        """Signal that the role's work makes progress."""
        self._heartbeat = self._ticks()

    def lost(self, grant: Grant) -> None:
        """Called when the fence finds that `grant` is over."""
        with self._lock:
            if self._grant == grant:
                self._grant = None

    def renew(self) -> bool:
        """Take or renew the lease once. Returns whether it is held. A database outage changes nothing."""
        with self._lock:
            grant, began = self._grant, self._ticks()
        if grant is not None and began - self._heartbeat > self._patience_s:
            log.error(
                "lease not renewed: the role's work hangs", role=self._name, since_s=round(began - self._heartbeat)
            )
            return False
        try:
            with self._db.write() as session:
                kept = grant if grant is not None and renew(session, grant, self._ttl_s) else None
                kept = kept or acquire(session, self._name, self._holder, self._ttl_s)
        except SQLAlchemyError as error:
            log.warning("lease not renewed: the database is down", role=self._name, error=type(error).__name__)
            return False
        with self._lock:
            self._grant, self._believed_until = kept, began + self._ttl_s - MARGIN_S
        self._tell(grant, kept)
        return kept is not None

    def give_back(self) -> None:
        """Release the lease, so that a standby may act at once. Call it when no work is in progress."""
        with self._lock:
            grant, self._grant = self._grant, None
        if grant is None:
            return
        try:
            with self._db.write() as session:
                give_back(session, grant)
        except SQLAlchemyError:
            log.warning("lease not released, it will expire", role=self._name)

    def _tell(self, before: Grant | None, kept: Grant | None) -> None:
        if kept is not None and kept != before:
            self.heartbeat()
            log.info("role taken", role=self._name, term=kept.term, holder=self._holder)
        elif before is not None and kept is None:
            log.warning("role lost", role=self._name, term=before.term)

"""Expiring: what has outlived the time that was set for it. Housekeeping; slow is fine."""

from dataclasses import dataclass
from datetime import datetime

from orchestrator.db.database import Database
from orchestrator.files.delete import remove_expired
from orchestrator.jobs.repeats import forget_keys
from orchestrator.loops.counts import Counts
from orchestrator.webhooks.forget import forget_deliveries


@dataclass(frozen=True)
class ExpireFiles:
    """Files past the time their owner set are removed, rows and bytes."""

    db: Database

    def run_once(self, now: datetime) -> Counts:
        """Remove what is due, unless a live job reads it."""
        return Counts(expired=gone) if (gone := remove_expired(self.db, now)) else Counts()


@dataclass(frozen=True)
class ForgetKeys:
    """Idempotency keys hold for a day."""

    db: Database

    def run_once(self, now: datetime) -> Counts:
        """Drop what is older."""
        return Counts(forgotten=gone) if (gone := forget_keys(self.db, now)) else Counts()


@dataclass(frozen=True)
class ForgetDeliveries:
    """Deliveries of webhooks that are over are kept for a month."""

    db: Database

    def run_once(self, now: datetime) -> Counts:
        """Drop what is older."""
        return Counts(forgotten=gone) if (gone := forget_deliveries(self.db, now)) else Counts()

"""File retention: removes files past the expiry that their owner set."""

from dataclasses import dataclass
from datetime import datetime

from orchestrator.db.database import Database
from orchestrator.files.delete import remove_expired
from orchestrator.steps.step import Counts


@dataclass(frozen=True)
class ExpireFiles:
    """Removes expired files, rows and bytes."""

    db: Database

    def run_once(self, now: datetime) -> Counts:
        """Remove expired files, except those that a live job reads."""
        return Counts(expired=gone) if (gone := remove_expired(self.db, now)) else Counts()

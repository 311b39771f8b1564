"""Retention of files: those past the time their owner set are removed."""

from dataclasses import dataclass
from datetime import datetime

from orchestrator.db.database import Database
from orchestrator.files.delete import remove_expired
from orchestrator.steps.step import Counts


@dataclass(frozen=True)
class ExpireFiles:
    """Files past the time their owner set are removed, rows and bytes."""

    db: Database

    def run_once(self, now: datetime) -> Counts:
        """Remove what is due, unless a live job reads it."""
        return Counts(expired=gone) if (gone := remove_expired(self.db, now)) else Counts()

"""Sweeping deleted files: whoever deleted one may have died between its row and its bytes."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import select, update

from orchestrator.db.database import Database
from orchestrator.db.tables import FileRow
from orchestrator.errors import ServiceError
from orchestrator.files.storage import remove
from orchestrator.loops.counts import Counts

log = structlog.get_logger()

A_PASS: Final = 200


@dataclass(frozen=True)
class SweepFiles:
    """Removes the bytes of deleted files, if any are left, and notes that none are."""

    db: Database

    def run_once(self, now: datetime) -> Counts:
        """One file after the other, until storage does not answer."""
        counts = Counts()
        left = (FileRow.deleted_at.is_not(None), FileRow.swept_at.is_(None))
        with self.db.read() as session:
            found = select(FileRow.id, FileRow.uri).where(*left).order_by(FileRow.deleted_at).limit(A_PASS)
            due = session.execute(found).all()
        for file_id, uri in due:
            folder = uri.rpartition("/")[0]
            try:
                if folder.endswith(f"/{file_id}"):  # what a damaged row points at is not deleted
                    remove(folder)
            except ServiceError as error:
                log.warning("file not swept", file=file_id, error=type(error).__name__)
                counts["delayed"] += 1
                break
            with self.db.write() as session:
                session.execute(update(FileRow).where(FileRow.id == file_id).values(swept_at=now))
            counts["files_swept"] += 1
        return counts

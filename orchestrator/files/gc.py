"""Garbage collection of deleted files: a deletion may have been killed between the row and the bytes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import select, update

from orchestrator.db.database import Database
from orchestrator.db.tables import FileRow
from orchestrator.steps.gc import GcPass
from orchestrator.steps.step import Counts
from orchestrator.storage.objects import remove

A_PASS: Final = 200


@dataclass(frozen=True)
class FileGc:
    """Removes the remaining bytes of deleted files and records that they are gone."""

    db: Database
    _gc_pass: GcPass[FileRow] = field(default_factory=lambda: GcPass(A_PASS))

    def run_once(self, now: datetime) -> Counts:
        """Clear one file at a time, until storage stops responding."""
        return self._gc_pass.run(self._due, lambda row: self._collect(row, now), lambda row: row.id)

    def _due(self, offset: int, limit: int) -> Sequence[FileRow]:
        left = (FileRow.deleted_at.is_not(None), FileRow.collected_at.is_(None))
        query = select(FileRow).where(*left).order_by(FileRow.deleted_at, FileRow.seq)
        with self.db.read() as session:
            return session.scalars(query.offset(offset).limit(limit)).all()

    def _collect(self, row: FileRow, now: datetime) -> Counts:
        folder = row.uri.rpartition("/")[0]
        if folder.endswith(f"/{row.id}"):  # never delete what a damaged row points at
            remove(folder)
        with self.db.write() as session:
            session.execute(update(FileRow).where(FileRow.id == row.id).values(collected_at=now))
        return Counts(files_collected=1)

"""Garbage collection of the parts that ended uploads leave in storage."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, select, update

from orchestrator.db.database import Database
from orchestrator.db.upload_tables import UploadPartRow, UploadRow
from orchestrator.steps.gc import GcPass
from orchestrator.steps.step import Counts
from orchestrator.storage.objects import remove
from orchestrator.uploads.queries import parts_uri

GRACE: Final = timedelta(minutes=15)  # longer than a client waits for a response: a completion may be reading the parts
A_PASS: Final = 100


@dataclass(frozen=True)
class UploadGc:
    """Expires abandoned uploads, and removes the parts of all ended ones from storage."""

    db: Database
    storage_uri: str
    _gc_pass: GcPass[UploadRow] = field(default_factory=lambda: GcPass(A_PASS))

    def run_once(self, now: datetime) -> Counts:
        """Clear one upload at a time, until storage stops responding."""
        return self._gc_pass.run(
            lambda offset, limit: self._due(now, offset, limit), lambda row: self._collect(row, now), lambda row: row.id
        )

    def _due(self, now: datetime, offset: int, limit: int) -> Sequence[UploadRow]:
        over = (UploadRow.collected_at.is_(None), UploadRow.expires_at <= now - GRACE)
        query = select(UploadRow).where(*over).order_by(UploadRow.expires_at, UploadRow.seq)
        with self.db.read() as session:
            return session.scalars(query.offset(offset).limit(limit)).all()

    def _collect(self, row: UploadRow, now: datetime) -> Counts:
        mine = update(UploadRow).where(UploadRow.id == row.id).execution_options(synchronize_session=False)
        with self.db.write() as session:  # from here on it cannot be completed
            session.execute(mine.where(UploadRow.status == "pending").values(status="expired"))
        remove(parts_uri(self.storage_uri, row.tenant_id, row.id))
        with self.db.write() as session:
            session.execute(delete(UploadPartRow).where(UploadPartRow.upload_id == row.id))
            session.execute(mine.values(collected_at=now))
        return Counts(collected=1)

"""Garbage collection of previews, and of encodings: those of deleted files, and those that nobody needed for long."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import delete, exists, or_, select, update

from orchestrator.db.database import Database
from orchestrator.db.encoding_tables import EncodingRow, EncodingState, PreviewRow
from orchestrator.db.job_tables import JobRow
from orchestrator.db.tables import FileRow
from orchestrator.lifecycle.encoded import NEEDED, SHOWN
from orchestrator.steps.gc import GcPass
from orchestrator.steps.step import Counts
from orchestrator.storage.objects import remove
from workers.contract.failpoints import failpoint

log = structlog.get_logger()
A_PASS: Final = 200
_DELETING: Final = EncodingRow.state == EncodingState.DELETING


@dataclass(frozen=True)
class EncodingGc:
    """Marks what may go, removes the bytes, then the row. If it is killed in between, the next pass repeats it."""

    db: Database
    unused_s: int
    _gc_pass: GcPass[EncodingRow] = field(default_factory=lambda: GcPass(A_PASS))

    def run_once(self, now: datetime) -> Counts:
        """Erase one encoding at a time, until storage stops responding."""
        with self.db.write() as session:
            session.execute(delete(PreviewRow).where(PreviewRow.until < now))
        self._mark(now)
        return self._gc_pass.run(self._due, self._erase, lambda row: row.uri)

    def _mark(self, now: datetime) -> None:
        """Mark those that no live job or preview needs. Who needs one from now on waits until it is deleted."""
        live = exists().where(JobRow.finished_at.is_(None), JobRow.tenant_id == EncodingRow.tenant_id, NEEDED)
        deleted = exists().where(FileRow.id == EncodingRow.file_id, FileRow.deleted_at.is_not(None))
        unused = EncodingRow.used_at < now - timedelta(seconds=self.unused_s)
        idle = EncodingRow.state.not_in((EncodingState.RUNNING, EncodingState.DELETING))
        shown = exists().where(SHOWN)
        due = (idle, or_(deleted, unused), ~live.correlate(EncodingRow), ~shown.correlate(EncodingRow))
        with self.db.read() as session:
            keys = list(session.scalars(select(EncodingRow.key).where(*due).limit(A_PASS)))
        values = {"state": EncodingState.DELETING, "encoded": None, "error_code": None, "issues": None}
        for key in keys:
            with self.db.write() as session:
                marked = update(EncodingRow).where(EncodingRow.key == key, *due).values(**values)
                session.execute(marked.execution_options(synchronize_session=False))

    def _due(self, offset: int, limit: int) -> Sequence[EncodingRow]:
        query = select(EncodingRow).where(_DELETING).order_by(EncodingRow.used_at, EncodingRow.key)
        with self.db.read() as session:
            return session.scalars(query.offset(offset).limit(limit)).all()

    def _erase(self, row: EncodingRow) -> Counts:
        if not row.uri.endswith(f"/{row.tenant_id}/encoded/{row.key}"):
            log.error("encoding is outside its tenant's prefix, not deleted", key=row.key)
            return Counts(refused=1)
        remove(row.uri)
        failpoint("encodings.erased")
        with self.db.write() as session:
            session.execute(delete(EncodingRow).where(EncodingRow.key == row.key, _DELETING))
        return Counts(encodings_erased=1)

"""Checkpoint garbage collection: DELETING -> DELETED, deleting the bytes in between."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import select, update

from orchestrator.checkpoints.states import CheckpointState
from orchestrator.db.database import Database
from orchestrator.db.job_tables import CheckpointRow
from orchestrator.steps.gc import GcPass
from orchestrator.steps.step import Counts
from orchestrator.storage.layout import belongs_to
from orchestrator.storage.objects import remove
from workers.contract.failpoints import failpoint

log = structlog.get_logger()

A_PASS: Final = 200
_DELETING: Final = CheckpointRow.state == CheckpointState.DELETING


@dataclass(frozen=True)
class CheckpointGc:
    """Deletes checkpoints marked for deletion. If it is killed before a row is DELETED, the next pass repeats it."""

    db: Database
    _gc_pass: GcPass[CheckpointRow] = field(default_factory=lambda: GcPass(A_PASS))

    def run_once(self, now: datetime) -> Counts:
        """Delete one checkpoint at a time, oldest first, until storage stops responding."""
        return self._gc_pass.run(self._due, self._erase, lambda row: row.uri)

    def _due(self, offset: int, limit: int) -> Sequence[CheckpointRow]:
        query = select(CheckpointRow).where(_DELETING).order_by(CheckpointRow.seq)
        with self.db.read() as session:
            return session.scalars(query.offset(offset).limit(limit)).all()

    def _erase(self, row: CheckpointRow) -> Counts:
        if not belongs_to(row.uri, row.job_id):
            log.error("checkpoint is outside its job's prefix, not deleted", job=row.job_id, seq=row.seq)
            return Counts(refused=1)
        remove(row.uri)
        failpoint("checkpoints.erased")
        with self.db.write() as session:
            this = (CheckpointRow.seq == row.seq, _DELETING)
            session.execute(update(CheckpointRow).where(*this).values(state=CheckpointState.DELETED))
        return Counts(erased=1)

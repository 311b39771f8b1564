"""Erasing: DELETING -> DELETED, the bytes in between."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import select, update

from orchestrator.checkpoints.prefixes import belongs_to
from orchestrator.checkpoints.states import CheckpointState
from orchestrator.db.database import Database
from orchestrator.db.job_tables import CheckpointRow
from orchestrator.errors import ServiceError
from orchestrator.files.storage import remove
from orchestrator.loops.counts import Counts
from workers.contract.failpoints import failpoint

log = structlog.get_logger()

A_PASS: Final = 200


@dataclass(frozen=True)
class EraseCheckpoints:
    """Deletes what was condemned, by whomever. Killed before a row is DELETED, the next pass deletes once more."""

    db: Database

    def run_once(self, now: datetime) -> Counts:
        """One checkpoint after the other, oldest first, until storage does not answer."""
        counts = Counts()
        condemned = CheckpointRow.state == CheckpointState.DELETING
        with self.db.read() as session:
            rows = session.scalars(
                select(CheckpointRow).where(condemned).order_by(CheckpointRow.seq).limit(A_PASS)
            ).all()
        for row in rows:
            if not belongs_to(row.uri, row.job_id):
                log.error("checkpoint lies outside its job's prefix and is left alone", job=row.job_id, seq=row.seq)
                counts["refused"] += 1
                continue
            try:
                remove(row.uri)
            except ServiceError as error:
                log.warning("checkpoint not erased", job=row.job_id, error=type(error).__name__)
                counts["delayed"] += 1
                break  # the next one would wait for the same time-out
            failpoint("checkpoints.erased")
            with self.db.write() as session:
                this = (CheckpointRow.seq == row.seq, condemned)
                session.execute(update(CheckpointRow).where(*this).values(state=CheckpointState.DELETED))
            counts["erased"] += 1
        return counts

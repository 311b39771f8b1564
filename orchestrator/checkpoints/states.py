"""The states of a checkpoint row, and the updates that seat reports make to it."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from orchestrator.db.job_tables import CheckpointRow


class CheckpointState(StrEnum):
    """The state of a checkpoint."""

    COMMITTED = "committed"
    """Complete in storage; a seat may resume from it."""
    CORRUPT = "corrupt"
    """Failed verification when a seat tried to resume from it."""
    DELETING = "deleting"
    """Marked for deletion; some of its bytes may be gone."""
    DELETED = "deleted"
    """Its bytes are gone."""


def mark_verified(session: Session, job_id: str, step: int, now: datetime) -> None:
    """A seat resumed from the checkpoint of `step`, so all its digests match. If several have that step, it is the
    newest committed one: newer ones that failed verification are already marked corrupt.
    """
    committed = (CheckpointRow.job_id == job_id, CheckpointRow.state == CheckpointState.COMMITTED)
    newest = select(CheckpointRow.seq).where(*committed, CheckpointRow.step == step)
    chosen = newest.order_by(CheckpointRow.seq.desc()).limit(1).scalar_subquery()
    session.execute(update(CheckpointRow).where(CheckpointRow.seq == chosen).values(verified_at=now))


def mark_corrupt(session: Session, job_id: str, uri: str) -> None:
    """A seat could not verify the checkpoint. A checkpoint that is being deleted keeps its state."""
    found = (CheckpointRow.job_id == job_id, CheckpointRow.uri == uri)
    committed = CheckpointRow.state == CheckpointState.COMMITTED
    session.execute(update(CheckpointRow).where(*found, committed).values(state=CheckpointState.CORRUPT))


def mark_for_deletion(session: Session, *which: ColumnElement[bool]) -> int:
    """Mark these checkpoints for deletion; no attempt is offered them from now on. Returns how many were marked."""
    present = CheckpointRow.state.in_((CheckpointState.COMMITTED, CheckpointState.CORRUPT))
    gone = update(CheckpointRow).where(*which, present).values(state=CheckpointState.DELETING)
    return len(session.execute(gone.returning(CheckpointRow.seq)).all())

"""The states of a checkpoint row, and the marks that reports of seats leave on it."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from orchestrator.db.job_tables import CheckpointRow


class CheckpointState(StrEnum):
    """Where a checkpoint is."""

    COMMITTED = "committed"
    """Whole in storage; a seat may resume from it."""
    CORRUPT = "corrupt"
    """Did not verify when a seat wanted to resume from it."""
    DELETING = "deleting"
    """Condemned; some of its bytes may be gone."""
    DELETED = "deleted"
    """Its bytes are gone."""


def mark_verified(session: Session, job_id: str, step: int, now: datetime) -> None:
    """A seat resumed from the checkpoint of `step`, so all its digests were right. Of several the newest was offered
    first; those before it that did not verify are marked corrupt by now.
    """
    committed = (CheckpointRow.job_id == job_id, CheckpointRow.state == CheckpointState.COMMITTED)
    newest = select(CheckpointRow.seq).where(*committed, CheckpointRow.step == step)
    chosen = newest.order_by(CheckpointRow.seq.desc()).limit(1).scalar_subquery()
    session.execute(update(CheckpointRow).where(CheckpointRow.seq == chosen).values(verified_at=now))


def mark_corrupt(session: Session, job_id: str, uri: str) -> None:
    """A seat found the checkpoint wanting. One that is being deleted meanwhile stays so."""
    found = (CheckpointRow.job_id == job_id, CheckpointRow.uri == uri)
    committed = CheckpointRow.state == CheckpointState.COMMITTED
    session.execute(update(CheckpointRow).where(*found, committed).values(state=CheckpointState.CORRUPT))


def mark_for_deletion(session: Session, *which: ColumnElement[bool]) -> int:
    """Let the bytes of these checkpoints be erased; from now on nobody is offered them. Returns how many it were."""
    present = CheckpointRow.state.in_((CheckpointState.COMMITTED, CheckpointState.CORRUPT))
    gone = update(CheckpointRow).where(*which, present).values(state=CheckpointState.DELETING)
    return len(session.execute(gone.returning(CheckpointRow.seq)).all())

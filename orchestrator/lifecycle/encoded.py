"""Encoded rows of jobs: where a job waits that has none, and what follows when they are lost."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import Session

from orchestrator.db.encoding_tables import EncodingRow, EncodingState, PreviewRow
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import Desired, JobState
from orchestrator.lifecycle.events import EventDraft
from orchestrator.lifecycle.transition import JobRef, transition

NEEDED: ColumnElement[bool] = or_(
    JobRow.training_encoding == EncodingRow.key, JobRow.validation_encoding == EncodingRow.key
)
"""The job needs the encoding."""
SHOWN: ColumnElement[bool] = or_(
    PreviewRow.training_encoding == EncodingRow.key, PreviewRow.validation_encoding == EncodingRow.key
)
"""The preview needs the encoding."""
WANTED: ColumnElement[bool] = and_(
    JobRow.finished_at.is_(None), JobRow.desired == Desired.RUN, JobRow.state == JobState.VALIDATING, NEEDED
)
"""The job waits for the encoding."""


def waiting_place(session: Session, row: JobRow, why: str) -> tuple[JobState, str]:
    """Where the job waits for a seat, or for its rows to be encoded first; and the message of its event."""
    if is_encoded(session, row):
        return JobState.QUEUED, f"{why}, moving job to queued state"
    return JobState.VALIDATING, f"{why}; its rows have to be encoded before it is queued"


def is_encoded(session: Session, row: JobRow) -> bool:
    """Whether the encoded rows that the job's spec names are those that are stored."""
    named = dict(_named(row))
    if None in named:
        return False
    done = (EncodingRow.key.in_(named), EncodingRow.state == EncodingState.DONE)
    rows = session.execute(select(EncodingRow.key, EncodingRow.encoded).where(*done))
    return {row.key: row.encoded for row in rows} == named


def lose_rows(session: Session, row: JobRow, now: datetime) -> None:
    """A host did not find the job's encoded rows as they were stored: they are encoded again. Queued jobs that need
    them wait for that. If others have been stored meanwhile, those count.
    """
    for key, encoded in _named(row):
        if key is not None:
            lose_encoding(session, row.tenant_id, key, encoded, now)


def lose_encoding(session: Session, tenant_id: str, key: str, encoded: Mapping[str, Any] | None, now: datetime) -> None:
    """Have it encoded again, unless others than `encoded` are stored by now. Queued jobs that need it wait."""
    this = (EncodingRow.key == key, EncodingRow.state == EncodingState.DONE)
    if session.scalar(select(EncodingRow.encoded).where(*this)) != encoded:
        return
    lost = {"state": EncodingState.WAITING, "encoded": None, "not_before": None}
    session.execute(update(EncodingRow).where(*this).values(**lost))
    of_key = or_(JobRow.training_encoding == key, JobRow.validation_encoding == key)
    queued = (JobRow.finished_at.is_(None), JobRow.state == JobState.QUEUED, JobRow.tenant_id == tenant_id)
    for other in session.scalars(select(JobRow).where(*queued, of_key)).all():
        event = EventDraft("Its encoded rows are lost; they are encoded again", level="warn")
        transition(session, JobRef.of(other), JobState.VALIDATING, event, now=now)


def _named(row: JobRow) -> Iterator[tuple[str | None, dict[str, Any] | None]]:
    """Key and EncodedRef of each of the job's files."""
    data = row.spec["data"]
    yield row.training_encoding, data["training"].get("encoded")
    if data.get("validation") is not None:
        yield row.validation_encoding, data["validation"].get("encoded")

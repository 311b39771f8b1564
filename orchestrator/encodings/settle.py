"""How a try at an encoding ends. Every write is guarded by the key and the number of the attempt."""

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from orchestrator.db.encoding_tables import EncodingRow, EncodingState
from orchestrator.db.tables import FileRow
from orchestrator.encodings.claims import LEASE
from workers.contract.backoff import Backoff
from workers.contract.encoding import EncodeResult
from workers.contract.errors import ErrorCode
from workers.contract.issues import storable

BACKOFF: Final = Backoff(first_s=1.0, longest_s=600.0)
MAX_FAILURES: Final = 10
"""Of machines, in a row; they span at least 17 minutes."""


def settle(session: Session, row: EncodingRow, result: EncodeResult, now: datetime) -> bool:
    """Write the result of a try. False: it is not the current one."""
    if result.encoded is not None:
        encoded = result.encoded.model_dump(mode="json")
        return _write(session, row, state=EncodingState.DONE, encoded=encoded, failures=0, used_at=now)
    code, message = result.error_code or ErrorCode.ENCODING_FAILED, result.message or "The file was not encoded."
    if result.retryable or _file_is_deleted(session, row, code):
        return machine_failed(session, row, code, message, now)
    issues = [storable(issue).model_dump(mode="json") for issue in result.issues]
    return _fail(session, row, code, message, issues)


def _file_is_deleted(session: Session, row: EncodingRow, code: ErrorCode) -> bool:
    """Whether the file was deleted while it was read, by whoever looked at it: others have the same content."""
    deleted = exists().where(FileRow.id == row.file_id, FileRow.deleted_at.is_not(None))
    return code is ErrorCode.STORAGE_UNAVAILABLE and (session.scalar(select(deleted)) or False)


def machine_failed(session: Session, row: EncodingRow, code: ErrorCode, message: str, now: datetime) -> bool:
    """A machine failed under the try: it waits for the next one, unless there were too many."""
    failures = row.failures + 1
    if failures > MAX_FAILURES:
        return _fail(
            session, row, code, f"{message}; {failures} tries in a row failed. Submit the job again later.", []
        )
    later = now + timedelta(seconds=BACKOFF.pause_s(failures, 0.5))
    return _write(session, row, state=EncodingState.WAITING, failures=failures, not_before=later)


def give_back(session: Session, row: EncodingRow, not_before: datetime | None = None) -> bool:
    """Nobody is at work on it, through no failure: it waits again."""
    return _write(session, row, state=EncodingState.WAITING, not_before=not_before)


def renew(session: Session, row: EncodingRow, rows_read: int, now: datetime) -> None:
    """Its encoder is at work on it."""
    unchanged = rows_read == row.rows_read and row.lease_until is not None and row.lease_until > now + LEASE / 2
    if not unchanged:
        values = {"rows_read": rows_read, "lease_until": now + LEASE}
        session.execute(update(EncodingRow).where(*_this(row)).values(**values))


def _fail(session: Session, row: EncodingRow, code: ErrorCode, message: str, issues: list[Any]) -> bool:
    error = {"error_code": code, "error_message": message, "issues": issues}
    return _write(session, row, state=EncodingState.FAILED, **error)


def _write(session: Session, row: EncodingRow, **values: Any) -> bool:
    over = {"encoder": None, "lease_until": None}
    written = update(EncodingRow).where(*_this(row)).values(**over, **values).returning(EncodingRow.key)
    return session.execute(written.execution_options(synchronize_session=False)).first() is not None


def _this(row: EncodingRow) -> tuple[Any, ...]:
    running = EncodingRow.state == EncodingState.RUNNING
    return EncodingRow.key == row.key, EncodingRow.attempt == row.attempt, running

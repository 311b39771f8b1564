"""Previews: what a job would train on, row by row, from the same encoded rows that it would get."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pydantic import Field, StrictInt
from sqlalchemy import exists, func, or_, select, update
from sqlalchemy.orm import Session

from orchestrator.bases.marks import require_usable
from orchestrator.db.database import Database
from orchestrator.db.encoding_tables import EncodingRow, EncodingState, PreviewRow
from orchestrator.encodings.keys import encoding_key, files_of
from orchestrator.encodings.link import need
from orchestrator.encodings.promote import CODE_OF, OF_DATA, OVER
from orchestrator.errors import EncodingFailed, InvalidRequest, QuotaExceeded, StorageMissing
from orchestrator.lifecycle.encoded import lose_encoding
from orchestrator.storage.objects import open_chunks, read_all
from orchestrator.submission.datasets import named_files
from orchestrator.submission.request import JobRequest
from orchestrator.submission.resolve import offered_base
from orchestrator.submission.submit import SubmitDeps, draft_spec
from orchestrator.tenancy.lock import lock_tenant
from orchestrator.tenancy.views import Tenant
from workers.contract.errors import ErrorCode
from workers.contract.issues import FileRole
from workers.contract.preview import (
    DIGEST_BYTES,
    DIGESTS_FILE,
    MAX_ROWS,
    MAX_SHOWN_ISSUES,
    PREVIEW_FILE,
    FilePreview,
    PreviewView,
    StoredPreview,
)
from workers.contract.rows import RowIssue
from workers.contract.spec import DatasetRef, JobSpec

LOOKED_AT: Final = timedelta(seconds=60)
"""Files are encoded for a preview for so long after it was asked for."""
MAX_LOOKED_AT: Final = 20
"""Of one tenant, at a time."""
MAX_COMPARED_ROWS: Final = 1_000_000
"""Of each of two files: those of more are not compared, for an API process compares them in memory."""
_OF_BASE: Final = frozenset({ErrorCode.BASE_UNUSABLE, ErrorCode.BASE_REFUSED})


class PreviewRequest(JobRequest):
    """`POST /v1/fine_tuning/x/preview`: a submission, and how much to show of it."""

    rows: StrictInt = Field(3, ge=1, le=MAX_ROWS, description="rows to show of each file")


@dataclass(frozen=True)
class Asked:
    """A preview that files are encoded for."""

    spec: JobSpec
    keys: Mapping[str, str]
    """Role -> key of the file's encoding."""


def ask(submit_deps: SubmitDeps, tenant: Tenant, request: PreviewRequest, now: datetime) -> Asked:
    """Have the files encoded, or go on with it. Raises like `submit`."""
    base = offered_base(submit_deps.catalogue, tenant, request.model)
    with submit_deps.db.write() as session:
        lock_tenant(session, tenant.id)
        files = named_files(session, tenant.id, request, now)
        spec = draft_spec(files, submit_deps.storage_uri, tenant, base, request, now)
        require_usable(session, base, spec)
        keys = {role: encoding_key(spec, dataset) for role, dataset in files_of(spec)}
        is_new = _look(session, spec, keys, now)
        for role, dataset in files_of(spec):  # what failed is the answer to those who ask already
            retry = is_new or _may_go_away(session, keys[role], now)
            need(session, spec, dataset, keys[role], submit_deps.storage_uri, now, retry=retry)
    return Asked(spec, keys)


def show(submit_deps: SubmitDeps, asked: Asked, rows: int, now: datetime) -> PreviewView:
    """What is known by now. Raises: EncodingFailed, InvalidRequest (the base), StorageDown."""
    of_keys = EncodingRow.key.in_(asked.keys.values())
    with submit_deps.db.read() as session:
        states = session.execute(select(EncodingRow.key, EncodingRow.state, EncodingRow.rows_read).where(of_keys)).all()
        is_over = {row.key for row in states if row.state in OVER} == set(asked.keys.values())
        whole = select(EncodingRow).where(of_keys, EncodingRow.state.in_(OVER))  # with issues, which may be megabytes
        found = {row.key: row for row in session.scalars(whole)} if is_over else {}
    encodings = {role: found[key] for role, key in asked.keys.items() if key in found}
    if encodings.keys() == asked.keys.keys():
        try:
            return _done(asked.spec.base.id, dict(files_of(asked.spec)), encodings, rows)
        except StorageMissing:
            _make_anew(submit_deps.db, [row for row in encodings.values() if not _is_whole(row)], now)
    return PreviewView(
        status="running",
        model=asked.spec.base.id,
        rows_read=sum(row.rows_read for row in states),
        training=None,
        validation=None,
        shared_rows=None,
    )


def _make_anew(db: Database, encodings: Iterable[EncodingRow], now: datetime) -> None:
    """Have encoded again what storage has lost a part of."""
    with db.write() as session:
        for row in encodings:
            if row.state == EncodingState.DONE:
                lose_encoding(session, row.tenant_id, row.key, row.encoded, now)


def _is_whole(row: EncodingRow) -> bool:
    """Whether all that is shown of it is in storage. Raises: StorageDown."""
    try:
        for name in (PREVIEW_FILE, DIGESTS_FILE):
            next(open_chunks(f"{row.uri}/{name}"), None)
    except StorageMissing:
        return False
    return True


def _look(session: Session, spec: JobSpec, keys: Mapping[str, str], now: datetime) -> bool:
    """Note that somebody looks. True: nobody did before."""
    key = hashlib.sha256("".join(f"{role}:{keys[role]}\n" for role in sorted(keys)).encode()).hexdigest()
    until = session.scalar(select(PreviewRow.until).where(PreviewRow.key == key))
    is_new = until is None or until <= now
    if is_new:
        _check_number(session, spec.tenant_id, now)
    # Its files may be other uploads of the same content than before, which are gone.
    values = {"spec": spec.model_dump(mode="json"), "until": now + LOOKED_AT}
    known = update(PreviewRow).where(PreviewRow.key == key).values(**values).returning(PreviewRow.key)
    if (
        session.scalar(known.execution_options(synchronize_session=False)) is None
    ):  # collected meanwhile, or never there
        row = PreviewRow(key=key, tenant_id=spec.tenant_id, **values)
        row.training_encoding, row.validation_encoding = keys["training"], keys.get("validation")
        session.add(row)
        session.flush()
    return is_new


def _may_go_away(session: Session, key: str, now: datetime) -> bool:
    """Whether the encoding failed a while ago through no fault of its rows."""
    of_machines = (EncodingRow.state == EncodingState.FAILED, EncodingRow.error_code.not_in(OF_DATA))
    earlier = or_(EncodingRow.claimed_at.is_(None), EncodingRow.claimed_at < now - LOOKED_AT)
    return session.scalar(select(exists().where(EncodingRow.key == key, *of_machines, earlier))) or False


def _check_number(session: Session, tenant_id: str, now: datetime) -> None:
    """Each is a copy of files as tokens."""
    of_tenant = (PreviewRow.tenant_id == tenant_id, PreviewRow.until > now)
    if (session.scalar(select(func.count()).where(*of_tenant)) or 0) >= MAX_LOOKED_AT:
        raise QuotaExceeded(f"You look at {MAX_LOOKED_AT} previews already. Ask again in a minute.")


def _done(model: str, files: Mapping[str, DatasetRef], encodings: Mapping[str, EncodingRow], rows: int) -> PreviewView:
    shown = {role: _file(FileRole(role), files[role], row, rows) for role, row in encodings.items()}
    return PreviewView(
        status="done",
        model=model,
        rows_read=sum(file.summary.rows for file in shown.values() if file.summary is not None),
        training=shown["training"],
        validation=shown.get("validation"),
        shared_rows=_shared(encodings, shown) if "validation" in encodings else None,
    )


def _file(role: FileRole, dataset: DatasetRef, row: EncodingRow, rows: int) -> FilePreview:
    """Raises: EncodingFailed, InvalidRequest, StorageMissing, StorageDown."""
    issues = [RowIssue.model_validate(issue) for issue in row.issues or ()]
    if row.state == EncodingState.FAILED:
        _require_of_data(role, dataset, row, issues)
    stored = _stored(row)
    return FilePreview(
        file_id=dataset.file_id,
        rows=() if stored is None else stored.rows[:rows],
        summary=None if stored is None else stored.summary,
        issue_count=len(issues),
        issues=tuple(issues[:MAX_SHOWN_ISSUES]),
    )


def _require_of_data(role: FileRole, dataset: DatasetRef, row: EncodingRow, issues: list[RowIssue]) -> None:
    """Raises unless the file's rows are why it could not be encoded."""
    message = (row.error_message or "").replace(row.file_id, dataset.file_id)
    if row.error_code in _OF_BASE:
        raise InvalidRequest(message, param="model", code=row.error_code)
    if row.error_code not in OF_DATA:
        raise EncodingFailed(message)
    if not issues:
        raise InvalidRequest(message, param=f"{role}_file", code=CODE_OF[role])


def _stored(row: EncodingRow) -> StoredPreview | None:
    """None: encoding was stopped before the end of the file, so there is none."""
    try:
        return StoredPreview.model_validate_json(read_all(f"{row.uri}/{PREVIEW_FILE}"))
    except StorageMissing:
        if row.state == EncodingState.FAILED:
            return None
        raise


def _shared(encodings: Mapping[str, EncodingRow], files: Mapping[str, FilePreview]) -> int | None:
    """Validation rows that a training row equals, as tokens."""
    if any(file.summary is None or file.summary.rows > MAX_COMPARED_ROWS for file in files.values()):
        return None
    digests = {role: read_all(f"{row.uri}/{DIGESTS_FILE}") for role, row in encodings.items()}
    training = set(_digests(digests["training"]))
    return sum(digest in training for digest in _digests(digests["validation"]))


def _digests(content: bytes) -> Iterator[bytes]:
    return (content[at : at + DIGEST_BYTES] for at in range(0, len(content), DIGEST_BYTES))

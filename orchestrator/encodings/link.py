"""Links a job to the encodings it needs, which are made where there are none."""

from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from orchestrator.db.encoding_tables import EncodingRow, EncodingState
from orchestrator.encodings.keys import encoded_uri, encoding_key, files_of, with_encoded
from orchestrator.lifecycle.transition import JobRef, amend
from orchestrator.tenancy.lock import lock_tenant
from workers.contract.encoded import EncodedRef
from workers.contract.spec import DatasetRef, JobSpec


def link(session: Session, job: JobRef, spec: JobSpec, storage_uri: str, now: datetime) -> bool:
    """Write into the job which encodings it needs. False: one of them is just being deleted, or the job has changed."""
    lock_tenant(session, spec.tenant_id)
    keys: dict[str, Any] = {"training_encoding": None, "validation_encoding": None}
    for role, dataset in files_of(spec):
        key = encoding_key(spec, dataset)
        if not need(session, spec, dataset, key, storage_uri, now):
            return False
        keys[f"{role}_encoding"] = key
    return amend(session, job, **keys)


def as_far_as_encoded(session: Session, spec: JobSpec) -> JobSpec:
    """The spec with what is known of its files from earlier jobs on the same data."""
    keys = {encoding_key(spec, dataset): role for role, dataset in files_of(spec)}
    done = (EncodingRow.key.in_(keys), EncodingRow.state == EncodingState.DONE)
    rows = session.execute(select(EncodingRow.key, EncodingRow.encoded).where(*done))
    return with_encoded(spec, {keys[row.key]: EncodedRef.model_validate(row.encoded) for row in rows})


def need(
    session: Session,
    spec: JobSpec,
    dataset: DatasetRef,
    key: str,
    storage_uri: str,
    now: datetime,
    *,
    retry: bool = True,
) -> bool:
    """Note that the encoding is needed now. One that failed is tried again, if `retry`: file and options are as before,
    the encoder may not be. The caller holds the tenant's lock. False: it is just being deleted.
    """
    this = EncodingRow.key == key
    used = update(EncodingRow).where(this, EncodingRow.state != EncodingState.DELETING).values(used_at=now)
    state = session.execute(used.returning(EncodingRow.state)).scalar()
    if state is None:
        if session.get(EncodingRow, key) is not None:
            return False
        uri = encoded_uri(storage_uri, spec.tenant_id, key)
        session.add(_row(spec.tenant_id, dataset.file_id, key, uri, now))
        session.flush()
    elif state == EncodingState.FAILED and retry:
        again = {"state": EncodingState.WAITING, "failures": 0, "not_before": None, "file_id": dataset.file_id}
        no_error = {"error_code": None, "error_message": None, "issues": None}
        session.execute(update(EncodingRow).where(this).values(**again, **no_error))
    elif state in (EncodingState.WAITING, EncodingState.DONE):  # it lives as long as a file that somebody uses
        session.execute(update(EncodingRow).where(this).values(file_id=dataset.file_id))
    return True


def _row(tenant_id: str, file_id: str, key: str, uri: str, now: datetime) -> EncodingRow:
    return EncodingRow(
        key=key,
        tenant_id=tenant_id,
        file_id=file_id,
        uri=uri,
        state=EncodingState.WAITING,
        created_at=now,
        used_at=now,
    )

"""Submission: check, resolve, and write the job with its first event in one transaction."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from orchestrator.catalogue.entries import Catalogue, CatalogueBase
from orchestrator.db.database import Database
from orchestrator.db.insert import fresh, insert_now
from orchestrator.db.job_tables import JobRow
from orchestrator.errors import InvalidRequest, QuotaExceeded
from orchestrator.files.queries import visible_file
from orchestrator.files.storage import job_uri
from orchestrator.ids import new_id
from orchestrator.jobs.events import EventDraft, event_row
from orchestrator.jobs.queries import get_job
from orchestrator.jobs.repeats import ANYBODY, SAME_POST, Mark, Sender, find_by_key, find_earlier
from orchestrator.jobs.request import JobRequest
from orchestrator.jobs.resolve import Identity, check_fits, offered_base, resolve
from orchestrator.jobs.states import DEADLINE_S, Desired, JobState
from orchestrator.jobs.views import JobView, hyperparameters_of, job_view
from orchestrator.tenancy.hold import hold_tenant
from orchestrator.tenancy.views import Tenant
from workers.contract.failpoints import failpoint
from workers.contract.memory import pass_positions, seat_bytes
from workers.contract.rows import DatasetFormat
from workers.contract.spec import DatasetRef, JobSpec


@dataclass(frozen=True)
class Desk:
    """What submission needs to know of the installation."""

    db: Database
    catalogue: Catalogue
    storage_uri: str
    max_live_jobs: int


def submit(
    desk: Desk, tenant: Tenant, request: JobRequest, key: str | None, now: datetime, sender: Sender = ANYBODY
) -> str:
    """Create a job and return its id. A POST that is repeated gives the job it made: it is known by `key`, the
    caller's Idempotency-Key, or by what `sender` says of it (see `orchestrator.jobs.repeats`).

    Raises: InvalidRequest, NotFound (files), QuotaExceeded, IdempotencyMismatch.
    """
    made = _make(desk, tenant, request, Mark.of(tenant.id, request, key, sender, now), now)
    return made if isinstance(made, str) else made.id


def submit_and_show(
    desk: Desk, tenant: Tenant, request: JobRequest, key: str | None, now: datetime, sender: Sender = ANYBODY
) -> JobView:
    """`submit`, and the job as its owner sees it; a new one is not read again."""
    made = _make(desk, tenant, request, Mark.of(tenant.id, request, key, sender, now), now)
    return get_job(desk.db, tenant.id, made, now) if isinstance(made, str) else job_view(made, None, None, now)


def _make(desk: Desk, tenant: Tenant, request: JobRequest, mark: Mark, now: datetime) -> JobRow | str:
    """The row of a new job, or the id of the one that this POST made before."""
    if mark.says_it_repeats:  # then it is answered even where nothing new would be taken
        with desk.db.read() as session:
            if earlier := find_earlier(session, mark):
                return earlier
    base = offered_base(desk.catalogue, tenant, request.model)
    with desk.db.write() as session:
        hold_tenant(session, tenant.id)
        winner, live = _standing(session, mark)
        if winner is not None:  # the same POST came twice at once; the other one was first
            return winner
        _check_quota(desk, live)
        spec = draft_spec(session, desk.storage_uri, tenant, base, request, now)
        check_fits(spec, desk.catalogue)
        row = _insert(session, request, spec, mark, now)
        if mark.key is not None:
            session.add(mark.row(mark.key, spec.job_id))
        failpoint("submit.before_commit")
    failpoint("submit.after_commit")
    return row


def draft_spec(
    session: Session, storage_uri: str, tenant: Tenant, base: CatalogueBase, request: JobRequest, now: datetime
) -> JobSpec:
    """The spec a submission would have, nothing written. Raises: InvalidRequest, NotFound (files)."""
    training = _dataset(session, tenant, request.training_file, "training_file", now)
    validation = None
    if request.validation_file is not None:
        validation = _dataset(session, tenant, request.validation_file, "validation_file", now)
    job_id = new_id("ftjob-")
    who = Identity(
        job_id=job_id,
        tenant_id=tenant.id,
        output_uri=job_uri(storage_uri, tenant.id, job_id),
        seed=secrets.randbelow(2**31) if request.seed is None else request.seed,
        fair_weight=tenant.weight,
    )
    return resolve(request, base, training, validation, who)


def _dataset(session: Session, tenant: Tenant, file_id: str, param: str, now: datetime) -> DatasetRef:
    row = visible_file(session, tenant.id, file_id, now, param)
    if row.purpose != "fine-tune":
        raise InvalidRequest(f"File {file_id} has purpose '{row.purpose}'; 'fine-tune' is needed.", param=param)
    if row.status != "processed" or row.format is None or not row.rows:
        code = f"invalid_{param}"
        detail = (row.status_details or "The file has no rows").rstrip(".")
        message = f"File {file_id} cannot be trained on. {detail}. Correct the file and upload it again."
        raise InvalidRequest(message, param=param, code=code)
    return DatasetRef(file_id=row.id, uri=row.uri, sha256=row.sha256, rows=row.rows, format=DatasetFormat(row.format))


_STANDING: Final = select(
    SAME_POST.scalar_subquery().label("same_post"),
    select(func.count(JobRow.seq))
    .where(JobRow.tenant_id == bindparam("tenant_id"), JobRow.finished_at.is_(None))
    .scalar_subquery()
    .label("live"),
)


def _standing(session: Session, mark: Mark) -> tuple[str | None, int]:
    """The job that this very POST made before, if any, and how many of the tenant's jobs are not over."""
    found = session.connection().execute(_STANDING, mark.same_post).one()
    return found.same_post if mark.key is None else find_by_key(session, mark, mark.key), found.live


def _check_quota(desk: Desk, live: int) -> None:
    if live >= desk.max_live_jobs:
        raise QuotaExceeded(
            f"You have {live} jobs queued or running; at most {desk.max_live_jobs} are allowed. "
            "Wait for one to end, or cancel one."
        )


def _insert(session: Session, request: JobRequest, spec: JobSpec, mark: Mark, now: datetime) -> JobRow:
    row = _row(request, spec, mark, now)
    insert_now(session, row)
    created = EventDraft(f"Created fine-tuning job: {spec.job_id}")
    insert_now(session, event_row(spec.tenant_id, spec.job_id, created, now))
    return row


def _row(request: JobRequest, spec: JobSpec, mark: Mark, now: datetime) -> JobRow:
    """The job as it enters the state machine; every later state is written by `transition`."""
    validation = spec.data.validation
    return fresh(
        JobRow,
        id=spec.job_id,
        tenant_id=spec.tenant_id,
        base_id=spec.base.id,
        quantization=spec.quantization,
        compute_dtype=spec.compute_dtype,
        spec=spec.model_dump(mode="json"),
        method={"type": "supervised", "supervised": {"hyperparameters": hyperparameters_of(spec).model_dump()}},
        suffix=request.suffix,
        seed=spec.seed,
        priority=request.x_orchard.priority,
        max_user_retries=request.x_orchard.max_user_retries,
        labels=request.metadata or None,
        training_file_id=spec.data.training.file_id,
        validation_file_id=None if validation is None else validation.file_id,
        memory_bytes=seat_bytes(spec),
        pass_positions=pass_positions(spec),
        post_sha256=mark.post_sha256,
        post_retries=mark.retries,
        state=JobState.VALIDATING,
        desired=Desired.RUN,
        state_since=now,
        state_deadline=now + timedelta(seconds=DEADLINE_S[JobState.VALIDATING]),
        total_steps=spec.training.total_steps(spec.data.training.rows),
        created_at=now,
    )

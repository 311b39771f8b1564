"""Submission: checks, resolves, and writes the job with its first event in one transaction."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from orchestrator.bases.marks import require_usable
from orchestrator.catalogue.entries import Catalogue, CatalogueBase
from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import DEADLINE_S, Desired, JobState
from orchestrator.errors import QuotaExceeded, TenantSuspended
from orchestrator.ids import new_id
from orchestrator.lifecycle.events import EventDraft, record
from orchestrator.queries.job_views import JobView, hyperparameters_of, new_job_view
from orchestrator.queries.jobs import get_job
from orchestrator.queries.registry_pages import RegistryPages
from orchestrator.storage.layout import job_uri
from orchestrator.submission.context import load_context
from orchestrator.submission.datasets import Files, dataset
from orchestrator.submission.idempotency import ANYBODY, RequestFingerprint, Sender, find_earlier
from orchestrator.submission.request import JobRequest
from orchestrator.submission.resolve import Identity, check_fits, offered_base, resolve
from orchestrator.tenancy.lock import lock_tenant
from orchestrator.tenancy.views import Tenant
from workers.contract.failpoints import failpoint
from workers.contract.spec import JobSpec


@dataclass(frozen=True)
class SubmitDeps:
    """The installation's parameters for submission."""

    db: Database
    catalogue: Catalogue
    storage_uri: str
    max_live_jobs: int
    mlflow_address: str | None = None
    """As tenants reach it; for the link of a repeated submission's job."""


def submit(
    submit_deps: SubmitDeps,
    tenant: Tenant,
    request: JobRequest,
    key: str | None,
    now: datetime,
    sender: Sender = ANYBODY,
) -> str:
    """Create a job and return its id. A retried POST returns the job it created earlier. It is identified by `key`, the
    caller's Idempotency-Key, or by `sender` (see `orchestrator.submission.idempotency`).

    Raises: InvalidRequest, NotFound (files), QuotaExceeded, IdempotencyMismatch.
    """
    made = _make(submit_deps, tenant, request, RequestFingerprint.of(tenant.id, request, key, sender, now))
    return made if isinstance(made, str) else made.spec.job_id


def submit_and_show(
    submit_deps: SubmitDeps,
    tenant: Tenant,
    request: JobRequest,
    key: str | None,
    now: datetime,
    sender: Sender = ANYBODY,
) -> JobView:
    """`submit`, and return the job's view without reading a new job again."""
    made = _make(submit_deps, tenant, request, RequestFingerprint.of(tenant.id, request, key, sender, now))
    if isinstance(made, str):
        pages = RegistryPages(submit_deps.mlflow_address, tenant.slug)
        return get_job(submit_deps.db, tenant.id, made, now, pages)
    return new_job_view(made.row, made.spec)


@dataclass(frozen=True)
class _Made:
    """A new job."""

    row: JobRow
    spec: JobSpec


def _make(submit_deps: SubmitDeps, tenant: Tenant, request: JobRequest, fingerprint: RequestFingerprint) -> _Made | str:
    """A new job, or the id of the one that this POST created earlier."""
    if fingerprint.is_retry:  # so it succeeds even where a new job would be refused
        with submit_deps.db.read() as session:
            if earlier := find_earlier(session, fingerprint):
                return earlier
    base = offered_base(submit_deps.catalogue, tenant, request.model)
    with submit_deps.db.write() as session:
        lock_tenant(session, tenant.id)
        found = load_context(session, request, fingerprint)
        if found.earlier is not None:  # the same POST came twice concurrently; the other was first
            return found.earlier
        if found.suspended:
            raise TenantSuspended
        _check_quota(submit_deps, found.live_jobs)
        spec = draft_spec(found.files, submit_deps.storage_uri, tenant, base, request, fingerprint.arrived_at)
        if found.base_is_marked:
            require_usable(session, base, spec)
        check_fits(spec, submit_deps.catalogue)
        made = _insert(session, request, spec, fingerprint)
        failpoint("submit.before_commit")
    failpoint("submit.after_commit")
    return made


def draft_spec(
    files: Files, storage_uri: str, tenant: Tenant, base: CatalogueBase, request: JobRequest, now: datetime
) -> JobSpec:
    """The spec of a submission, without writing it. Raises: InvalidRequest, NotFound (files)."""
    training = dataset(files, request.training_file, "training_file")
    validation = None
    if request.validation_file is not None:
        validation = dataset(files, request.validation_file, "validation_file")
    job_id = new_id("ftjob-")
    who = Identity(
        job_id=job_id,
        tenant_id=tenant.id,
        output_uri=job_uri(storage_uri, tenant.id, job_id),
        seed=secrets.randbelow(2**31) if request.seed is None else request.seed,
        created_on=now.date(),
        fair_weight=tenant.weight,
    )
    return resolve(request, base, training, validation, who)


def _check_quota(submit_deps: SubmitDeps, live: int) -> None:
    if live >= submit_deps.max_live_jobs:
        raise QuotaExceeded(
            f"You have {live} jobs queued or running; at most {submit_deps.max_live_jobs} are allowed. "
            "Wait for one to end, or cancel one."
        )


def _insert(session: Session, request: JobRequest, spec: JobSpec, fingerprint: RequestFingerprint) -> _Made:
    row = _row(request, spec, fingerprint)
    session.add(row)
    session.flush()  # before what refers to it
    record(
        session,
        spec.tenant_id,
        spec.job_id,
        EventDraft(f"Created fine-tuning job: {spec.job_id}", data=fingerprint.by.data if fingerprint.by else None),
        fingerprint.arrived_at,
    )
    if fingerprint.key is not None:
        session.add(fingerprint.row(fingerprint.key, spec.job_id))
    session.flush()
    return _Made(row, spec)


def _row(request: JobRequest, spec: JobSpec, fingerprint: RequestFingerprint) -> JobRow:
    """The job in its initial state; `transition` writes every later state."""
    validation, now = spec.data.validation, fingerprint.arrived_at
    return JobRow(
        id=spec.job_id,
        tenant_id=spec.tenant_id,
        base_id=spec.base.id,
        quantization=spec.quantization,
        compute_dtype=spec.compute_dtype,
        task=spec.task.type,
        lane=spec.lane,
        spec=spec.model_dump(mode="json"),
        method={"type": "supervised", "supervised": {"hyperparameters": hyperparameters_of(spec).model_dump()}},
        suffix=request.suffix,
        seed=spec.seed,
        priority=request.x_orchard.priority,
        max_user_retries=request.x_orchard.max_user_retries,
        labels=request.metadata or None,
        training_file_id=spec.data.training.file_id,
        validation_file_id=None if validation is None else validation.file_id,
        memory_bytes=spec.seat_bytes,
        pass_tokens=spec.pass_tokens,
        post_sha256=fingerprint.post_sha256,
        post_retries=fingerprint.retries,
        state=JobState.VALIDATING,
        desired=Desired.RUN,
        state_since=now,
        state_deadline=now + timedelta(seconds=DEADLINE_S[JobState.VALIDATING]),
        total_steps=spec.training.total_steps(spec.data.training.rows),
        created_at=now,
    )

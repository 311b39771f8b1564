"""Submission against a real database: one transaction, idempotency under a race, quotas."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from orchestrator.db.database import Database
from orchestrator.db.job_tables import EventRow, IdempotencyRow, JobRow
from orchestrator.db.states import JobState
from orchestrator.db.tables import FileRow
from orchestrator.errors import IdempotencyMismatch, NotFound, QuotaExceeded
from orchestrator.files.delete import remove_expired
from orchestrator.submission.request import JobRequest
from orchestrator.submission.resolve import batch_sizes
from orchestrator.submission.submit import SubmitDeps, submit
from orchestrator.tenancy.views import Tenant
from tests.builders.live_api import make_catalogue
from tests.builders.rows import NOW, make_file, make_job, make_tenant
from workers.contract.spec import JobSpec


@pytest.fixture
def submit_deps(db: Database) -> SubmitDeps:
    return SubmitDeps(db, make_catalogue(), "file:///nowhere", max_live_jobs=3)


def prepared(submit_deps: SubmitDeps, **changes: object) -> tuple[Tenant, JobRequest]:
    row = make_tenant(submit_deps.db)
    file = make_file(submit_deps.db, row)
    return Tenant.of(row), JobRequest(model="tiny", training_file=file.id, **changes)


def count(db: Database, table: type) -> int:
    with db.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_a_job_enters_with_its_first_event_and_a_deadline(submit_deps: SubmitDeps) -> None:
    tenant, request = prepared(submit_deps, metadata={})
    job_id = submit(submit_deps, tenant, request, None, NOW)

    with submit_deps.db.read() as session:
        job, event = session.scalars(select(JobRow)).one(), session.scalars(select(EventRow)).one()
    spec = JobSpec.model_validate(job.spec)
    assert (job.id, job.state, job.desired, job.labels) == (job_id, JobState.VALIDATING, "run", None)
    assert job.state_deadline == NOW + timedelta(seconds=600)
    assert spec.output_uri == f"file:///nowhere/tenants/{tenant.id}/jobs/{job_id}"
    assert event.message == f"Created fine-tuning job: {job_id}"


def test_the_same_key_at_the_same_time_makes_one_job(submit_deps: SubmitDeps) -> None:
    tenant, request = prepared(submit_deps)
    together, ids = threading.Barrier(4), []

    def post() -> None:
        together.wait()
        ids.append(submit(submit_deps, tenant, request, "once", NOW))

    threads = [threading.Thread(target=post) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(ids) == 4
    assert len(set(ids)) == 1
    assert (count(submit_deps.db, JobRow), count(submit_deps.db, EventRow), count(submit_deps.db, IdempotencyRow)) == (
        1,
        1,
        1,
    )


def test_a_key_belongs_to_its_tenant_and_its_body(submit_deps: SubmitDeps) -> None:
    tenant, request = prepared(submit_deps)
    other, others_request = prepared(submit_deps)

    first = submit(submit_deps, tenant, request, "k", NOW)
    assert submit(submit_deps, other, others_request, "k", NOW) != first
    with pytest.raises(IdempotencyMismatch, match="another body"):
        submit(submit_deps, tenant, request.model_copy(update={"seed": 1}), "k", NOW)


def test_a_repeated_key_is_answered_even_when_nothing_more_is_allowed(submit_deps: SubmitDeps) -> None:
    tenant, request = prepared(submit_deps)
    full = replace(submit_deps, max_live_jobs=1)
    assert submit(full, tenant, request, "k", NOW) == submit(full, tenant, request, "k", NOW)


def test_the_quota_counts_live_jobs_of_the_tenant_only(submit_deps: SubmitDeps) -> None:
    tenant, request = prepared(submit_deps)
    for state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED):
        make_job(submit_deps.db, state)
    make_job(submit_deps.db, JobState.RUNNING)
    for _ in range(3):
        submit(submit_deps, tenant, request, None, NOW)
    with pytest.raises(QuotaExceeded, match="3 jobs queued or running; at most 3"):
        submit(submit_deps, tenant, request, None, NOW)


def test_an_expired_file_is_gone_and_collected_unless_a_job_uses_it(submit_deps: SubmitDeps) -> None:
    row = make_tenant(submit_deps.db)
    used, unused = (make_file(submit_deps.db, row, expires_at=NOW + timedelta(hours=1)) for _ in range(2))
    submit(submit_deps, Tenant.of(row), JobRequest(model="tiny", training_file=used.id), None, NOW)

    later = NOW + timedelta(hours=2)
    with pytest.raises(NotFound, match=used.id):
        submit(submit_deps, Tenant.of(row), JobRequest(model="tiny", training_file=used.id), None, later)
    assert remove_expired(submit_deps.db, later) == 1
    with submit_deps.db.read() as session:
        assert session.scalars(select(FileRow.id).where(FileRow.deleted_at.is_not(None))).all() == [unused.id]


@pytest.mark.parametrize(
    ("batch", "micro", "rows", "sizes"),
    [
        (None, None, 1, (4, 4)),
        (None, None, 5_000, (10, 2)),
        (None, None, 10**6, (256, 4)),
        (None, 3, 5_000, (9, 3)),
        (None, 200, 10**6, (200, 200)),
        (7, None, 100, (7, 1)),
        (6, None, 100, (6, 3)),
        (16, 8, 100, (16, 8)),
    ],
)
def test_auto_batch_sizes_always_divide(
    batch: int | None, micro: int | None, rows: int, sizes: tuple[int, int]
) -> None:
    assert batch_sizes(batch, micro, rows) == sizes

"""A suspended tenant: nothing of it runs, nothing of it is lost, and others do not notice."""

import pytest

from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import DEADLINE_S, Desired, JobState
from orchestrator.db.tables import TenantRow
from orchestrator.errors import InvalidRequest, TenantSuspended
from orchestrator.lifecycle.desired import cancel, pause, resume
from orchestrator.lifecycle.suspension import Suspension, resume_tenant, suspend
from orchestrator.queries.blockers import Constraint
from orchestrator.queries.jobs import get_job
from orchestrator.queries.why import why
from orchestrator.submission.request import JobRequest
from orchestrator.submission.submit import SubmitDeps
from orchestrator.submission.submit import submit as post
from orchestrator.tenancy.tenants import get_tenant
from tests.builders.listed_registry import ListedRegistry, make_publish
from tests.builders.live_api import make_catalogue
from tests.builders.rows import make_file, make_job, make_tenant
from tests.builders.specs import make_dataset, sum_rows
from tests.builders.world import World
from tests.builders.world_jobs import running, submit
from workers.contract.reports import ExitClass

UNPAID = Suspension(reason="The invoice is open.")


def tenant_of(world: World, job_id: str) -> str:
    return world.job(job_id).tenant_id


def row_of(db: Database, tenant_id: str) -> TenantRow:
    with db.read() as session:
        return session.get_one(TenantRow, tenant_id)


def test_a_running_job_saves_a_checkpoint_rests_and_goes_on_from_it(world: World):
    job_id = running(world)
    host = world.host_of(job_id)
    host.step(job_id, times=2)
    suspend(world.db, tenant_of(world, job_id), UNPAID, world.now)
    assert get_job(world.db, tenant_of(world, job_id), job_id, world.now).status == "pausing"
    world.tick(3)
    assert (world.job(job_id).state, host.seats) == (JobState.PAUSED, {})
    assert world.attempts(job_id)[0].exit_class == ExitClass.PREEMPTED
    assert world.messages(job_id)[-3:] == [
        "The operator suspended the tenant, saving a checkpoint after this step",
        "Checkpoint created at step 2",
        "Suspended at step 2",
    ]
    world.tick(5)
    assert world.job(job_id).state == JobState.PAUSED
    resume_tenant(world.db, tenant_of(world, job_id))
    world.tick(4)
    world.host_of(job_id).prepare(job_id)
    world.tick()
    job = world.job(job_id)
    assert (job.state, job.step, job.attempt) == (JobState.RUNNING, 2, 2)
    assert (job.infra_failures, job.user_failures, job.host_evictions) == (0, 0, 0)


def test_waiting_jobs_are_not_placed_while_others_are(world: World):
    waiting = submit(world)
    suspend(world.db, tenant_of(world, waiting), Suspension(), world.now)
    other = running(world)
    assert (world.job(waiting).state, world.attempts(waiting)) == (JobState.PAUSED, [])
    resume_tenant(world.db, tenant_of(world, waiting))
    world.tick(3)
    assert world.job(waiting).state == JobState.STARTING
    assert world.job(other).state == JobState.RUNNING


def test_a_job_that_was_being_validated_rests_once_that_is_done(world: World):
    rows = make_dataset(world.folder / "rows.jsonl", sum_rows(12))
    job = make_job(world.db, JobState.VALIDATING, spec_changes={"training": rows})
    suspend(world.db, job.tenant_id, Suspension(), world.now)
    world.tick(3)
    assert world.job(job.id).state == JobState.PAUSED, world.messages(job.id)
    assert world.attempts(job.id) == []


def test_what_the_owner_wanted_before_is_what_he_gets_after(world: World):
    tenant = make_tenant(world.db)
    resting, leaving, ready = (running(world, tenant=tenant) for _ in range(3))
    pause(world.db, tenant.id, resting)
    world.tick(3)
    suspend(world.db, tenant.id, Suspension(), world.now)
    cancel(world.db, tenant.id, leaving)  # a request that came in before, and is carried out after
    world.tick(4)
    assert world.job(leaving).state == JobState.CANCELLED
    resume_tenant(world.db, tenant.id)
    world.tick(4)
    assert world.job(resting).state == JobState.PAUSED
    assert world.job(ready).state in (JobState.ADMITTED, JobState.STARTING, JobState.RUNNING)


def test_a_late_resume_of_the_owner_does_not_undo_it(world: World):
    job_id = running(world)
    suspend(world.db, tenant_of(world, job_id), Suspension(), world.now)
    with pytest.raises(TenantSuspended):
        resume(world.db, tenant_of(world, job_id), job_id)
    assert world.job(job_id).desired == Desired.SUSPEND


def test_a_suspension_that_ends_before_the_seat_is_free_costs_a_seat_and_no_retry(world: World):
    job_id = running(world)
    host = world.host_of(job_id)
    host.prompt = False
    suspend(world.db, tenant_of(world, job_id), Suspension(), world.now)
    world.tick(2)
    assert world.job(job_id).state == JobState.STOPPING
    resume_tenant(world.db, tenant_of(world, job_id))
    host.step(job_id)
    host.prompt = True
    world.tick(6)
    job = world.job(job_id)
    assert (job.attempt, job.infra_failures, job.user_failures, job.host_evictions) == (2, 0, 0, 0)


def test_a_finished_adapter_is_published_although_its_tenant_is_suspended(world: World):
    job_id = running(world)
    host = world.host_of(job_id)
    host.step(job_id, times=6)
    host.finish(job_id)
    world.tick()
    assert world.job(job_id).state == JobState.PUBLISHING
    suspend(world.db, tenant_of(world, job_id), Suspension(), world.now)
    make_publish(world, ListedRegistry()).run_once(world.now)
    world.tick()
    assert world.job(job_id).state == JobState.SUCCEEDED


def test_a_job_that_finished_while_it_was_being_suspended_is_as_any_other_afterwards(world: World):
    job_id = running(world)
    host = world.host_of(job_id)
    host.step(job_id, times=6)
    suspend(world.db, tenant_of(world, job_id), Suspension(), world.now)
    host.finish(job_id)
    world.tick()
    assert (world.job(job_id).state, world.job(job_id).desired) == (JobState.PUBLISHING, Desired.SUSPEND)
    resume_tenant(world.db, tenant_of(world, job_id))
    assert world.job(job_id).desired == Desired.RUN
    with pytest.raises(InvalidRequest, match="its adapter is being published"):
        pause(world.db, tenant_of(world, job_id), job_id)
    cancel(world.db, tenant_of(world, job_id), job_id)
    world.tick()
    assert world.job(job_id).state == JobState.CANCELLED


def test_why_says_that_the_operator_has_to_act(world: World):
    job_id = running(world)
    suspend(world.db, tenant_of(world, job_id), UNPAID, world.now)
    world.tick(3)
    answer = why(world.db, tenant_of(world, job_id), job_id, world.now)
    assert (answer.constraint, answer.blocked, answer.status) == (Constraint.OPERATOR, True, "paused")
    assert "suspended your tenant" in answer.reason
    world.tick(seconds=DEADLINE_S[JobState.PAUSED] + 1)
    assert world.messages(job_id)[-1] == "Still suspended, until the operator ends it"


def test_a_submission_whose_key_was_accepted_before_the_suspension_makes_no_job(db: Database, tmp_path):
    row = make_tenant(db)
    file, tenant = make_file(db, row), get_tenant(db, row.id)
    deps = SubmitDeps(db, make_catalogue(), tmp_path.as_uri(), 10)
    suspend(db, row.id, Suspension(), row.created_at)
    with pytest.raises(TenantSuspended):
        post(deps, tenant, JobRequest(model="tiny", training_file=file.id), None, row.created_at)
    with db.read() as session:
        assert session.query(JobRow).count() == 0


def test_suspending_twice_keeps_the_first_time_and_the_last_reason(db: Database):
    tenant = make_tenant(db)
    first = suspend(db, tenant.slug, Suspension(), tenant.created_at)
    again = suspend(db, tenant.id, UNPAID, tenant.created_at.replace(year=2031))
    assert (first.suspended_at, first.suspension_reason) == (int(tenant.created_at.timestamp()), None)
    assert (again.suspended_at, again.suspension_reason) == (first.suspended_at, UNPAID.reason)
    for _ in range(2):
        assert resume_tenant(db, tenant.id).suspended_at is None
    assert row_of(db, tenant.id).suspension_reason is None

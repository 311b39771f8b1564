"""Pausing and resuming, in every state and racing with everything, over both databases and scripted hosts."""

import pytest

from orchestrator.db.database import Database
from orchestrator.db.states import DEADLINE_S, TERMINAL, Desired, JobState
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.lifecycle.desired import cancel, pause, resume
from orchestrator.queries.job_views import JobView
from orchestrator.queries.jobs import get_job
from tests.builders.listed_registry import ListedRegistry, make_publish
from tests.builders.rows import make_job, make_tenant
from tests.builders.specs import make_dataset
from tests.builders.world import World
from tests.builders.world_jobs import running, submit, want
from workers.contract.reports import ExitClass


def ask_to_pause(world: World, job_id: str) -> JobView:
    tenant_id = world.job(job_id).tenant_id
    pause(world.db, tenant_id, job_id)
    return get_job(world.db, tenant_id, job_id, world.now)


def ask_to_resume(world: World, job_id: str) -> JobView:
    tenant_id = world.job(job_id).tenant_id
    resume(world.db, tenant_id, job_id)
    return get_job(world.db, tenant_id, job_id, world.now)


def ask_to_cancel(world: World, job_id: str) -> JobView:
    tenant_id = world.job(job_id).tenant_id
    cancel(world.db, tenant_id, job_id)
    return get_job(world.db, tenant_id, job_id, world.now)


def paused(world: World, steps: int = 2) -> str:
    """A job that trained `steps` steps and was paused."""
    job_id = running(world)
    world.host_of(job_id).step(job_id, times=steps)
    ask_to_pause(world, job_id)
    world.tick(3)
    assert world.job(job_id).state == JobState.PAUSED
    return job_id


def test_a_running_job_finishes_its_step_saves_a_checkpoint_and_frees_its_seat(world: World):
    job_id = running(world)
    host = world.host_of(job_id)
    host.step(job_id, times=2)
    assert ask_to_pause(world, job_id).status == "pausing"
    world.tick(2)
    assert world.job(job_id).state == JobState.PAUSED
    assert (host.seats, world.attempts(job_id)[0].exit_class) == ({}, ExitClass.PREEMPTED)
    assert world.messages(job_id)[-3:] == [
        "Pause requested, saving a checkpoint after this step",
        "Checkpoint created at step 2",
        "Paused at step 2",
    ]


def test_a_pause_in_the_middle_of_a_long_step_waits_for_it(world: World):
    job_id = running(world)
    host = world.host_of(job_id)
    host.prompt = False
    assert ask_to_pause(world, job_id).x_orchard.state == JobState.RUNNING
    world.tick(3)
    assert (world.job(job_id).state, world.job(job_id).stop_reason) == (JobState.STOPPING, "pause")
    assert host.seats[job_id].asked_to_leave is ExitClass.PREEMPTED
    host.step(job_id)
    host.leave(job_id)
    world.tick()
    assert (world.job(job_id).state, world.job(job_id).step) == (JobState.PAUSED, 1)


def test_a_resumed_job_continues_from_the_checkpoint_of_its_pause(world: World):
    job_id = paused(world, steps=2)
    ask_to_resume(world, job_id)
    world.tick(3)
    host = world.host_of(job_id)
    assert host.seats[job_id].order.resume_from[0].step == 2
    host.prepare(job_id)
    host.step(job_id, times=4)
    host.finish(job_id)
    world.tick()
    job = world.job(job_id)
    assert (job.state, job.step, job.attempt, job.infra_failures, job.host_evictions) == ("publishing", 6, 2, 0, 0)
    assert "Fine-tuning job restarted from step 2" in world.messages(job_id)


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.BACKOFF])
def test_a_job_without_a_seat_is_paused_at_once(world: World, state: JobState):
    job_id = submit(world, state=state)
    ask_to_pause(world, job_id)
    world.tick()
    assert world.job(job_id).state == JobState.PAUSED
    assert world.messages(job_id)[-1] == "Paused"


def test_a_job_being_validated_is_paused_at_once_and_is_validated_when_it_resumes(world: World):
    training = make_dataset(world.folder / "train.jsonl")
    job_id = submit(world, state=JobState.VALIDATING, spec_changes={"training": training})
    assert ask_to_pause(world, job_id).status == "validating_files"
    world.tick(2)
    assert world.job(job_id).state == JobState.PAUSED
    assert "Files validated, moving job to queued state" not in world.messages(job_id)
    want(world, job_id, Desired.RUN)
    world.tick()
    assert world.job(job_id).state == JobState.VALIDATING
    world.tick()
    assert "Files validated, moving job to queued state" in world.messages(job_id)


@pytest.mark.parametrize("ticks", [1, 2, 3])
def test_a_job_on_its_way_to_a_seat_is_paused(world: World, ticks: int):
    job_id = submit(world)
    world.tick(ticks)
    ask_to_pause(world, job_id)
    world.tick(3)
    assert world.job(job_id).state == JobState.PAUSED
    assert world.attempts(job_id)[0].ended_at is not None


def test_pausing_and_resuming_twice_changes_nothing_more(world: World):
    job_id = paused(world)
    before = world.messages(job_id)
    ask_to_pause(world, job_id)
    world.tick(2)
    assert world.messages(job_id) == before
    ask_to_resume(world, job_id)
    ask_to_resume(world, job_id)
    world.tick(4)
    assert len(world.attempts(job_id)) == 2


def test_a_job_resumed_before_it_was_paused_goes_on_without_a_penalty(world: World):
    job_id = running(world)
    host = world.host_of(job_id)
    host.prompt = False
    ask_to_pause(world, job_id)
    world.tick(2)
    assert ask_to_resume(world, job_id).status == "running"
    host.step(job_id)
    host.leave(job_id)
    world.tick(5)
    job = world.job(job_id)
    assert (job.state, job.host_evictions, job.infra_failures) == (JobState.STARTING, 0, 0)
    assert world.host_of(job_id).seats[job_id].order.resume_from[0].step == 1


def test_a_pause_that_comes_with_the_last_step_ends_in_success(world: World):
    job_id = running(world)
    host = world.host_of(job_id)
    host.prompt = False
    ask_to_pause(world, job_id)
    world.tick(2)
    host.step(job_id, times=6)
    host.finish(job_id)
    world.tick()
    assert world.job(job_id).state == JobState.PUBLISHING
    make_publish(world, ListedRegistry()).run_once(world.now)
    world.tick()
    assert world.job(job_id).state == JobState.SUCCEEDED


def test_a_job_whose_host_dies_while_it_is_being_paused_is_paused_and_loses_nothing_committed(world: World):
    job_id = running(world)
    host = world.host_of(job_id)
    host.step(job_id, times=3)
    host.checkpoint(job_id)
    world.tick()
    host.prompt = False
    ask_to_pause(world, job_id)
    world.tick(2)
    world.cluster.kill(world.attempts(job_id)[0].host_id)
    world.tick()
    assert (world.job(job_id).state, world.job(job_id).infra_failures) == (JobState.PAUSED, 1)
    ask_to_resume(world, job_id)
    world.tick(6)
    assert world.host_of(job_id).seats[job_id].order.resume_from[0].step == 3


def test_a_job_whose_host_died_before_it_heard_of_the_pause_is_paused(world: World):
    job_id = running(world)
    ask_to_pause(world, job_id)
    world.cluster.kill(world.attempts(job_id)[0].host_id)
    world.tick()
    assert world.job(job_id).state == JobState.PAUSED


def test_a_paused_job_may_wait_and_says_so_once_a_week(world: World):
    job_id = paused(world)
    world.tick(seconds=DEADLINE_S[JobState.PAUSED] + 1)
    world.tick(5)
    assert world.job(job_id).state == JobState.PAUSED
    assert world.messages(job_id).count("Still paused, until you resume or cancel it") == 1


def test_the_seat_of_a_paused_job_goes_to_another(world: World):
    first = paused(world)
    second = running(world)
    assert world.attempts(second)[0].host_id == world.attempts(first)[0].host_id
    assert list(world.host_of(second).seats) == [second]


def test_cancelling_a_paused_job_ends_it(world: World):
    job_id = paused(world)
    ask_to_cancel(world, job_id)
    world.tick()
    assert world.job(job_id).state == JobState.CANCELLED


def test_cancelling_a_job_that_is_being_paused_ends_it(world: World):
    job_id = running(world)
    world.host_of(job_id).prompt = False
    ask_to_pause(world, job_id)
    world.tick(2)
    ask_to_cancel(world, job_id)
    with pytest.raises(InvalidRequest) as refused:
        ask_to_resume(world, job_id)
    assert refused.value.code == "job_being_cancelled"
    world.host_of(job_id).leave(job_id)
    world.tick()
    assert world.job(job_id).state == JobState.CANCELLED


def test_a_publishing_job_cannot_be_paused(db: Database):
    job = make_job(db, JobState.PUBLISHING)
    with pytest.raises(InvalidRequest, match="is being published; it can no longer be paused") as refused:
        pause(db, job.tenant_id, job.id)
    assert refused.value.code == "job_publishing"


@pytest.mark.parametrize("state", sorted(TERMINAL))
@pytest.mark.parametrize("verb", [pause, resume])
def test_a_job_that_is_over_can_neither_be_paused_nor_resumed(db: Database, state: JobState, verb):
    job = make_job(db, state)
    with pytest.raises(InvalidRequest, match=f"already completed: {job.id} is {state}") as refused:
        verb(db, job.tenant_id, job.id)
    assert refused.value.code == "job_already_finished"


@pytest.mark.parametrize("verb", [pause, resume])
def test_another_tenants_job_is_not_there(db: Database, verb):
    job, stranger = make_job(db, JobState.RUNNING), make_tenant(db)
    with pytest.raises(NotFound):
        verb(db, stranger.id, job.id)

"""Cancelling in every state, twice, and racing with success: one terminal state, whoever comes first."""

import pytest
from sqlalchemy import func, select

from orchestrator.db.database import Database
from orchestrator.db.job_tables import EventRow
from orchestrator.db.states import SEATED, TERMINAL, JobState
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.lifecycle.desired import cancel
from orchestrator.queries.jobs import get_job
from tests.builders.rows import make_job, make_tenant
from tests.builders.world import World
from tests.builders.world_jobs import running, submit
from workers.contract.reports import ExitClass


def ask_to_cancel(world: World, job_id: str) -> str:
    tenant_id = world.job(job_id).tenant_id
    cancel(world.db, tenant_id, job_id)
    return get_job(world.db, tenant_id, job_id, world.now).status


def ends_of(world: World, job_id: str) -> list[str | None]:
    with world.db.read() as session:
        moves = select(EventRow.moved_to).where(EventRow.job_id == job_id, EventRow.moved_to.in_(TERMINAL))
        return list(session.scalars(moves))


@pytest.mark.parametrize("state", sorted(set(JobState) - TERMINAL - SEATED))
def test_a_job_without_a_seat_is_cancelled_in_one_pass(world: World, state: JobState):
    job_id = submit(world, state=state)
    ask_to_cancel(world, job_id)
    world.tick()
    assert world.job(job_id).state == JobState.CANCELLED
    assert world.messages(job_id)[-1] == "Fine-tuning job cancelled"


@pytest.mark.parametrize("ticks", [1, 2, 3, 4])
def test_a_job_is_cancelled_anywhere_on_its_way_to_a_seat_and_the_seat_is_free(world: World, ticks: int):
    job_id = submit(world)
    world.tick(ticks)
    ask_to_cancel(world, job_id)
    world.tick(3)
    assert world.job(job_id).state == JobState.CANCELLED
    assert world.host_of(job_id).seats == {}


def test_cancelling_twice_ends_the_job_once(world: World):
    job_id = running(world)
    ask_to_cancel(world, job_id)
    ask_to_cancel(world, job_id)
    world.tick(3)
    assert ask_to_cancel(world, job_id) == "cancelled"
    world.tick(2)
    assert ends_of(world, job_id) == ["cancelled"]


def test_a_cancelled_seat_saves_nothing(world: World):
    job_id = running(world)
    world.host_of(job_id).step(job_id, times=2)
    ask_to_cancel(world, job_id)
    world.tick(3)
    assert world.attempts(job_id)[0].exit_class == ExitClass.CANCELLED
    assert not any(message.startswith("Checkpoint") for message in world.messages(job_id))


def test_a_job_that_finishes_before_the_loop_hears_of_the_wish_is_cancelled(world: World):
    job_id = running(world)
    host = world.host_of(job_id)
    host.step(job_id, times=6)
    host.finish(job_id)
    ask_to_cancel(world, job_id)
    world.tick(2)
    assert (world.job(job_id).state, ends_of(world, job_id)) == (JobState.CANCELLED, ["cancelled"])
    assert world.attempts(job_id)[0].exit_class == ExitClass.OK


def test_a_job_that_finishes_while_it_is_being_stopped_is_cancelled(world: World):
    job_id = running(world)
    host = world.host_of(job_id)
    host.prompt = False
    ask_to_cancel(world, job_id)
    world.tick(2)
    host.step(job_id, times=6)
    host.finish(job_id)
    world.tick(2)
    assert (world.job(job_id).state, ends_of(world, job_id)) == (JobState.CANCELLED, ["cancelled"])


def test_a_job_that_fails_before_the_loop_hears_of_the_wish_is_cancelled(world: World):
    job_id = running(world)
    world.host_of(job_id).fail(job_id)
    ask_to_cancel(world, job_id)
    world.tick(2)
    assert ends_of(world, job_id) == ["cancelled"]


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED])
def test_a_job_that_is_over_cannot_be_cancelled(db: Database, state: JobState):
    job = make_job(db, state)
    with pytest.raises(InvalidRequest, match=f"{job.id} is {state} and cannot be cancelled") as refused:
        cancel(db, job.tenant_id, job.id)
    assert refused.value.code == "job_already_finished"


def test_another_tenants_job_is_not_there(db: Database):
    job, stranger = make_job(db, JobState.RUNNING), make_tenant(db)
    with pytest.raises(NotFound):
        cancel(db, stranger.id, job.id)


def test_every_end_is_told_once(world: World):
    jobs = [submit(world) for _ in range(3)]
    for job_id in jobs:
        ask_to_cancel(world, job_id)
    world.tick(3)
    with world.db.read() as session:
        told = select(func.count()).where(EventRow.message == "Fine-tuning job cancelled")
        assert session.scalar(told) == len(jobs)

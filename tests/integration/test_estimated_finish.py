"""`estimated_finish`: the measured time of a step, times the steps that remain; null where nobody can know."""

from datetime import timedelta

import pytest

from orchestrator.db.states import Desired, JobState
from orchestrator.lifecycle.desired import pause, resume
from orchestrator.paging import PageWindow
from orchestrator.queries.jobs import get_job, list_jobs
from orchestrator.usage.step_rate import WINDOW, Progress, StepRate, rate_of
from tests.builders.rows import NOW, make_job
from tests.builders.world import World
from tests.builders.world_jobs import submit, want
from workers.contract.reports import ExitClass

STEPS = 3_200


def finish(world: World, job_id: str) -> int | None:
    return get_job(world.db, world.job(job_id).tenant_id, job_id, world.now).estimated_finish


def ahead(world: World, job_id: str) -> float:
    """Seconds from now to the estimated finish."""
    shown = finish(world, job_id)
    assert shown is not None
    return shown - int(world.now.timestamp())


def trains(world: World, job_id: str, steps: int, seconds_each: float) -> None:
    for _ in range(steps):
        world.host_of(job_id).step(job_id)
        world.tick(seconds=seconds_each)


def long_job(world: World) -> str:
    job_id = submit(world)
    world.tick(4)
    world.host_of(job_id).prepare(job_id, total_steps=STEPS)
    world.tick()
    assert finish(world, job_id) is None  # no step was measured
    return job_id


def back_on_its_seat(world: World, job_id: str) -> None:
    world.tick(4)
    world.host_of(job_id).prepare(job_id, total_steps=STEPS)
    world.tick()
    assert world.job(job_id).state == JobState.RUNNING


def test_the_estimate_is_the_measured_step_times_what_remains(world: World):
    job_id = long_job(world)
    trains(world, job_id, steps=20, seconds_each=2)
    assert ahead(world, job_id) == 2 * (STEPS - 20)


def test_a_pause_is_not_counted_as_work(world: World):
    job_id = long_job(world)
    trains(world, job_id, steps=101, seconds_each=0.125)
    pause(world.db, world.job(job_id).tenant_id, job_id)
    world.tick(3)
    assert world.job(job_id).state == JobState.PAUSED
    assert finish(world, job_id) is None
    world.tick(seconds=3_600)
    resume(world.db, world.job(job_id).tenant_id, job_id)
    back_on_its_seat(world, job_id)
    assert finish(world, job_id) is None  # this attempt has measured nothing yet
    trains(world, job_id, steps=10, seconds_each=0.125)
    assert ahead(world, job_id) == pytest.approx(0.125 * (STEPS - 111), abs=1)


def test_a_lost_attempt_and_the_wait_for_the_next_are_not_counted_as_work(world: World):
    job_id = long_job(world)
    trains(world, job_id, steps=5, seconds_each=60)
    world.host_of(job_id).checkpoint(job_id)
    world.host_of(job_id).fail(job_id, exit_class=ExitClass.INFRA)
    world.tick()
    assert world.job(job_id).state == JobState.BACKOFF
    assert finish(world, job_id) is None
    world.tick(seconds=7_200)
    back_on_its_seat(world, job_id)
    trains(world, job_id, steps=5, seconds_each=1)
    assert ahead(world, job_id) == STEPS - 10


def test_an_evaluation_before_the_first_step_is_not_counted_as_a_step(world: World):
    job_id = long_job(world)
    world.tick(seconds=600)
    world.host_of(job_id).evaluate(job_id, loss=3.0)
    world.tick(seconds=60)
    trains(world, job_id, steps=10, seconds_each=1)
    assert ahead(world, job_id) == STEPS - 10


def test_a_step_that_lasts_for_longer_than_all_that_remains_was_to_moves_no_finish_into_the_past(world: World):
    job_id = long_job(world)
    trains(world, job_id, steps=5, seconds_each=1)
    asked_at = world.now + timedelta(seconds=STEPS)
    shown = get_job(world.db, world.job(job_id).tenant_id, job_id, asked_at).estimated_finish
    assert shown == int(asked_at.timestamp())


def test_one_that_is_to_pause_or_waits_has_no_finish(world: World):
    job_id = long_job(world)
    trains(world, job_id, steps=5, seconds_each=1)
    assert finish(world, job_id) is not None
    want(world, job_id, Desired.PAUSE)
    assert finish(world, job_id) is None
    for state in (JobState.VALIDATING, JobState.QUEUED, JobState.ADMITTED, JobState.STARTING, JobState.PAUSED):
        waiting = make_job(world.db, state, step=5, started_at=NOW - timedelta(hours=1))
        assert get_job(world.db, waiting.tenant_id, waiting.id, NOW).estimated_finish is None


def test_a_list_shows_the_same_estimate_as_the_job(world: World):
    job_id = long_job(world)
    trains(world, job_id, steps=5, seconds_each=3)
    tenant_id = world.job(job_id).tenant_id
    (listed,) = list_jobs(world.db, tenant_id, PageWindow(5), {}, world.now).items
    assert listed.estimated_finish == finish(world, job_id) is not None


def test_the_recent_minutes_count_and_not_those_with_other_neighbors(world: World):
    job_id = long_job(world)
    trains(world, job_id, steps=4, seconds_each=30)
    for _ in range(WINDOW + 1):
        world.host_of(job_id).step(job_id, times=60)
        world.tick(seconds=60)
    assert ahead(world, job_id) == STEPS - 4 - 60 * (WINDOW + 1)


def test_a_batch_of_first_steps_is_no_measure_and_the_next_is():
    began = Progress(20, NOW)
    assert rate_of(began, []) is None
    assert rate_of(began, [Progress(20, NOW)]) is None
    assert rate_of(began, [Progress(20, NOW + timedelta(seconds=60))]) is None
    later = NOW + timedelta(seconds=10)
    assert rate_of(began, [Progress(40, later)]) == StepRate(0.5, later)

"""The ledger of usage, kept by the control loop over scripted hosts: what is metered, counts once, and is not billed.

A scripted step has 64 tokens, 32 of them supervised.
"""

import pytest
from sqlalchemy import select, update

from orchestrator.db.effect_tables import UsageRow
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import Desired, JobState
from orchestrator.usage.meter import enter_step, minute_of
from tests.builders.rows import make_job
from tests.builders.world import World
from workers.contract.errors import ErrorCode
from workers.contract.reports import StepReport


def running(world: World) -> str:
    """A job whose seat has just begun to train."""
    job = make_job(world.db)
    spec = job.spec | {"output_uri": (world.folder / job.id).as_uri()}
    with world.db.write() as session:
        session.execute(update(JobRow).where(JobRow.id == job.id).values(spec=spec))
    train(world, job.id)
    return job.id


def train(world: World, job_id: str, rotten: int = 0) -> None:
    """Tick until the job has a seat, and let it begin, from before the `rotten` newest checkpoints."""
    for _ in range(20):
        if world.job(job_id).state == JobState.STARTING:
            break
        world.tick()
    host = world.host_of(job_id)
    host.reject(job_id, rotten)
    host.prepare(job_id, total_steps=100)
    world.tick()
    assert world.job(job_id).state == JobState.RUNNING


def step(world: World, job_id: str, times: int, seconds: float = 1) -> None:
    world.host_of(job_id).step(job_id, times)
    world.tick(seconds=seconds)


def ledger(world: World, job_id: str) -> list[UsageRow]:
    with world.db.read() as session:
        rows = select(UsageRow).where(UsageRow.job_id == job_id)
        return list(session.scalars(rows.order_by(UsageRow.attempt, UsageRow.minute)))


def total(rows: list[UsageRow], name: str) -> float:
    return sum(getattr(row, name) for row in rows)


def test_steps_are_entered_under_their_job_attempt_and_minute(world: World):
    job_id = running(world)
    began = world.now
    step(world, job_id, 3, seconds=10)
    step(world, job_id, 2, seconds=60)
    first, second = ledger(world, job_id)
    job = world.job(job_id)
    assert (first.tenant_id, first.base_id, first.flavor, first.attempt) == (job.tenant_id, "tiny", "cpu", 1)
    assert (first.minute, first.tokens, first.supervised_tokens) == (minute_of(began), 192, 96)
    assert (second.minute, second.tokens, second.supervised_tokens) == (minute_of(began) + 1, 128, 64)
    assert ((first.step_before, first.step), (second.step_before, second.step)) == ((0, 3), (3, 5))
    assert (first.seat_seconds, second.seat_seconds) == (10, 60)


def test_the_meter_does_not_run_before_the_seat_trains(world: World):
    job = make_job(world.db)
    world.tick(5, seconds=30)
    assert world.job(job.id).state == JobState.STARTING
    assert ledger(world, job.id) == []


def test_a_step_that_was_entered_before_adds_nothing(world: World):
    job_id = running(world)
    step(world, job_id, 3)
    for number in (2, 3):
        again = StepReport(job_id=job_id, attempt=1, lease_token="-", step=number, total_steps=100, epoch=0, tokens=64)
        with world.db.write() as session:
            enter_step(session, world.job(job_id), again, world.now)
    assert total(ledger(world, job_id), "tokens") == 192


def test_reports_whose_receipt_the_host_never_saw_count_once(world: World):
    job_id = running(world)
    step(world, job_id, 3)
    world.host_of(job_id).acknowledged = 0
    world.restart_orchestrator()
    step(world, job_id, 1)
    world.tick(3)
    assert total(ledger(world, job_id), "tokens") == 256


def test_a_seat_asked_to_stop_before_it_said_that_it_trains_is_metered_from_its_first_step(world: World):
    job = make_job(world.db)
    world.tick(4)
    assert world.job(job.id).state == JobState.STARTING
    host = world.host_of(job.id)
    host.prompt = False
    with world.db.write() as session:
        session.execute(update(JobRow).where(JobRow.id == job.id).values(desired=Desired.PAUSE))
    world.tick()
    assert world.job(job.id).state == JobState.STOPPING
    host.prepare(job.id)
    host.step(job.id)
    world.tick()
    [row] = ledger(world, job.id)
    assert (row.step_before, row.step, row.tokens) == (0, 1, 64)


def test_an_evaluation_costs_time_and_no_tokens(world: World):
    job_id = running(world)
    step(world, job_id, 1)
    world.host_of(job_id).evaluate(job_id, 1.0)
    world.tick(seconds=7)
    [row] = ledger(world, job_id)
    assert (row.tokens, row.seat_seconds) == (64, 8)


def test_what_a_lost_host_trained_after_its_checkpoint_is_not_billed(world: World):
    job_id = running(world)
    step(world, job_id, 4, seconds=5)
    world.host_of(job_id).checkpoint(job_id)
    step(world, job_id, 6, seconds=5)
    world.cluster.kill(world.attempts(job_id)[0].host_id)
    world.tick(seconds=30)

    rows = ledger(world, job_id)
    assert (total(rows, "tokens"), total(rows, "lost_tokens")) == (640, 384)
    assert (total(rows, "supervised_tokens"), total(rows, "lost_supervised_tokens")) == (320, 192)
    assert total(rows, "seat_seconds") == 10  # the silence before the end is not counted
    assert 0 < total(rows, "lost_seat_seconds") < 10

    train(world, job_id)
    step(world, job_id, 96)
    world.host_of(job_id).finish(job_id)
    world.tick()
    rows = ledger(world, job_id)
    assert total(rows, "tokens") - total(rows, "lost_tokens") == 100 * 64  # every step of the job, once
    assert {row.attempt for row in rows} == {1, 2}


@pytest.mark.parametrize(("rotten", "resumed_from"), [(1, 2), (2, 0)])
def test_steps_that_come_again_after_a_checkpoint_rotted_are_billed_once(world: World, rotten: int, resumed_from: int):
    job_id = running(world)
    for _ in range(2):
        step(world, job_id, 2, seconds=40)
        world.host_of(job_id).checkpoint(job_id)
    world.tick()
    world.cluster.kill(world.attempts(job_id)[0].host_id)
    world.tick(seconds=30)
    assert total(ledger(world, job_id), "lost_tokens") == 0

    train(world, job_id, rotten)
    rows = ledger(world, job_id)
    assert total(rows, "lost_tokens") == (4 - resumed_from) * 64
    step(world, job_id, 100 - resumed_from)
    rows = ledger(world, job_id)
    assert total(rows, "tokens") - total(rows, "lost_tokens") == 100 * 64


def test_an_attempt_lost_without_a_checkpoint_costs_nothing(world: World):
    job_id = running(world)
    step(world, job_id, 5, seconds=70)
    world.cluster.kill(world.attempts(job_id)[0].host_id)
    world.tick()
    rows = ledger(world, job_id)
    assert total(rows, "tokens") == total(rows, "lost_tokens") == 320
    assert total(rows, "seat_seconds") == total(rows, "lost_seat_seconds") == 70


@pytest.mark.parametrize("ending", ["cancelled", "paused", "failed", "finished"])
def test_ends_that_are_not_the_services_fault_are_billed_to_the_last_second(world: World, ending: str):
    job_id = running(world)
    step(world, job_id, 5)
    host = world.host_of(job_id)
    match ending:
        case "cancelled" | "paused":
            wish = Desired.CANCEL if ending == "cancelled" else Desired.PAUSE
            with world.db.write() as session:
                session.execute(update(JobRow).where(JobRow.id == job_id).values(desired=wish))
        case "failed":
            host.fail(job_id, ErrorCode.INVALID_TRAINING_FILE)
        case "finished":
            host.finish(job_id)
    world.tick(3, seconds=10)
    assert world.attempts(job_id)[0].ended_at is not None
    rows = ledger(world, job_id)
    assert (total(rows, "tokens"), total(rows, "lost_tokens"), total(rows, "lost_seat_seconds")) == (320, 0, 0)
    ended_at = world.attempts(job_id)[0].ended_at
    assert rows[-1].metered_until == ended_at

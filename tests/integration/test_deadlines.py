"""Every live state has a deadline, `max_runtime_s` counts over all attempts, and losses are forgiven after progress."""

from pathlib import Path

from sqlalchemy import update

from orchestrator.db.database import Database
from orchestrator.db.job_tables import AttemptRow, JobRow
from orchestrator.db.states import DEADLINE_S, JobState
from orchestrator.hosts.reports import RUNTIME_GRACE_S
from orchestrator.lifecycle.desired import pause, resume
from tests.builders.specs import make_dataset
from tests.builders.world import World, make_catalogue
from tests.builders.world_jobs import running, submit
from workers.contract.errors import ErrorCode
from workers.contract.reports import ExitClass

RUNTIME_S = 600  # of the specs that the builders make


def lose(world: World, job_id: str, message: str = "storage is away") -> None:
    """The job's attempt fails for want of storage, and the next one trains."""
    world.host_of(job_id).fail(job_id, ErrorCode.STORAGE_UNAVAILABLE, ExitClass.INFRA, message)
    world.tick()


def train_again(world: World, job_id: str) -> None:
    """The job waits out its pause, however long, and runs again."""
    world.tick(seconds=700)
    world.tick(4)
    world.host_of(job_id).prepare(job_id)
    world.tick()
    assert world.job(job_id).state == JobState.RUNNING


def test_a_job_that_waits_for_a_day_is_told_so_and_for_what(db: Database, tmp_path: Path):
    world = World(db, tmp_path, make_catalogue("tiny", "other"))
    running(world)
    waiting = submit(world, base_id="other")
    world.tick()
    with world.db.write() as session:
        session.execute(update(JobRow).where(JobRow.id == waiting).values(state_deadline=world.now))
    world.tick(3)
    told = [message for message in world.messages(waiting) if message.startswith("Still in the queue")]
    assert len(told) == 1
    assert "every device of cpu (1) is busy" in told[0]


def test_a_host_that_does_not_give_a_seat_up_is_ended_before_the_job_moves(world: World):
    job_id, neighbour = running(world), running(world)
    host_id, host = world.attempts(job_id)[0].host_id, world.host_of(job_id)
    host.prompt = False
    pause(world.db, world.job(job_id).tenant_id, job_id)
    world.tick(2)
    world.tick(seconds=DEADLINE_S[JobState.STOPPING] + 1)
    assert (world.job(job_id).state, world.hosts()[0].state) == (JobState.STOPPING, "stopping")
    assert world.attempts(job_id)[0].ended_at is None
    world.tick()
    assert host_id not in world.cluster.host_ids()
    assert (world.job(job_id).state, world.job(neighbour).state) == (JobState.PAUSED, JobState.BACKOFF)
    assert "Its host did not free the seat and is being stopped" in world.messages(job_id)


def test_an_attempt_no_host_ever_took_is_lost(world: World):
    job_id = submit(world)
    world.tick(2)
    host = world.host_of(job_id)
    host.spec = host.spec.model_copy(update={"max_seats": 0})  # full for ever
    world.tick(2)
    world.tick(seconds=DEADLINE_S[JobState.ADMITTED] + 1)
    assert world.job(job_id).state == JobState.BACKOFF
    assert f"Its host did not accept it within {DEADLINE_S[JobState.ADMITTED]} s" in world.messages(job_id)[-1]


def test_a_job_that_nobody_came_to_validate_is_told_so_and_waits_on(world: World):
    training = make_dataset(world.folder / "train.jsonl")
    job_id = submit(world, state=JobState.VALIDATING, spec_changes={"training": training})
    validate, *others = world.steps
    world.steps = tuple(others)
    for _ in range(2):
        world.tick(seconds=DEADLINE_S[JobState.VALIDATING] + 1)
    assert world.messages(job_id).count("Its files are still waiting to be validated and encoded") == 2
    assert validate.run_once(world.now) == {"validated": 1}


def test_the_next_attempt_has_what_earlier_ones_left_of_the_runtime(world: World):
    job_id = running(world)
    assert world.host_of(job_id).seats[job_id].order.runtime_left_s == RUNTIME_S
    world.tick(seconds=100)
    lose(world, job_id)
    train_again(world, job_id)
    attempt = world.attempts(job_id)[0]
    spent_s = (attempt.ended_at - attempt.attached_at).total_seconds()
    assert spent_s > 100
    assert world.host_of(job_id).seats[job_id].order.runtime_left_s == RUNTIME_S - spent_s
    left = world.job(job_id).state_deadline - world.now
    assert left.total_seconds() <= RUNTIME_S - spent_s + RUNTIME_GRACE_S


def test_hours_in_which_nobody_looked_for_a_lost_host_cost_no_runtime(world: World):
    job_id = running(world)
    host_id, until = world.attempts(job_id)[0].host_id, world.attempts(job_id)[0].lease_until
    world.cluster.kill(host_id)
    world.restart_orchestrator()
    world.tick(seconds=10 * RUNTIME_S)
    assert world.attempts(job_id)[0].exit_class == ExitClass.INFRA
    train_again(world, job_id)
    spent_s = (until - world.attempts(job_id)[0].attached_at).total_seconds()
    assert world.host_of(job_id).seats[job_id].order.runtime_left_s == RUNTIME_S - spent_s


def test_a_job_whose_runtime_is_spent_is_not_seated_again(world: World):
    job_id = running(world)
    world.tick(seconds=RUNTIME_S)
    lose(world, job_id)
    world.tick(10)
    job = world.job(job_id)
    assert (job.state, job.error_code) == (JobState.FAILED, ErrorCode.MAX_RUNTIME_EXCEEDED)
    assert "over all attempts" in job.error_message


def test_time_in_the_queue_and_in_a_pause_costs_no_runtime(world: World):
    job_id = running(world)
    tenant_id = world.job(job_id).tenant_id
    pause(world.db, tenant_id, job_id)
    world.tick(3)
    world.tick(seconds=10 * RUNTIME_S)
    resume(world.db, tenant_id, job_id)
    world.tick(6)
    assert world.host_of(job_id).seats[job_id].order.runtime_left_s > RUNTIME_S - 10


def test_losses_are_forgiven_when_a_newer_checkpoint_is_committed(world: World):
    job_id = running(world, max_infra_retries=1)
    lose(world, job_id)
    train_again(world, job_id)
    assert world.job(job_id).infra_failures == 1
    world.host_of(job_id).step(job_id)
    world.host_of(job_id).checkpoint(job_id)
    world.tick()
    assert world.job(job_id).infra_failures == 0
    lose(world, job_id)
    assert world.job(job_id).state == JobState.BACKOFF


def test_a_crash_loop_that_only_repeats_old_steps_ends_with_its_reason(world: World):
    job_id = running(world, max_infra_retries=2)
    world.host_of(job_id).step(job_id, times=3)
    world.host_of(job_id).checkpoint(job_id)
    world.tick()
    for _ in range(2):
        lose(world, job_id)
        train_again(world, job_id)
        world.host_of(job_id).reject(job_id)  # and so it starts again
        world.host_of(job_id).checkpoint(job_id)
    lose(world, job_id, "it crashed.")
    job = world.job(job_id)
    assert (job.state, job.error_code) == (JobState.FAILED, ErrorCode.STORAGE_UNAVAILABLE)
    assert "it crashed. The job was interrupted 3 times without progress beyond step 3" in job.error_message


def test_a_job_falls_back_over_all_its_corrupt_checkpoints_and_starts_again_once(world: World):
    job_id = running(world)
    host = world.host_of(job_id)
    for _ in range(6):
        host.step(job_id)
        host.checkpoint(job_id)
    world.tick()
    lose(world, job_id)
    world.tick(seconds=10)
    world.tick(4)
    host = world.host_of(job_id)
    assert [ref.step for ref in host.seats[job_id].order.resume_from] == [6, 5, 4, 3, 2, 1]
    host.reject(job_id, count=6)
    host.prepare(job_id)
    world.tick()
    lost = "No checkpoint up to step 6 can be used: training restarts from step 0"
    assert (world.job(job_id).state, world.messages(job_id).count(lost)) == (JobState.RUNNING, 1)
    assert sum("cannot be used: a digest differs" in message for message in world.messages(job_id)) == 6


def test_a_job_resumes_from_the_oldest_checkpoint_if_all_newer_ones_are_corrupt(world: World):
    job_id = running(world)
    host = world.host_of(job_id)
    for _ in range(6):
        host.step(job_id)
        host.checkpoint(job_id)
    world.tick()
    lose(world, job_id)
    world.tick(seconds=10)
    world.tick(4)
    host = world.host_of(job_id)
    host.reject(job_id, count=5)
    host.prepare(job_id)
    world.tick()
    assert world.attempts(job_id)[1].resumed_from_step == 1


def test_a_seat_that_cannot_go_on_within_its_runtime_is_stopped_and_fails(world: World):
    job_id = running(world)
    world.host_of(job_id).prompt = False
    world.tick(seconds=RUNTIME_S + RUNTIME_GRACE_S + 1)
    assert (world.job(job_id).state, world.job(job_id).stop_reason) == (JobState.STOPPING, "runtime")
    world.tick()
    world.host_of(job_id).leave(job_id)
    world.tick()
    assert world.job(job_id).error_code == ErrorCode.MAX_RUNTIME_EXCEEDED
    with world.db.read() as session:
        assert session.get_one(AttemptRow, (job_id, 1)).exit_class == ExitClass.CANCELLED

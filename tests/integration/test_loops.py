"""The control loop, step by step, over both databases and scripted hosts."""

from pathlib import Path

import pytest
from sqlalchemy import update

from orchestrator.db.database import Database
from orchestrator.db.states import Desired, JobState
from orchestrator.db.tables import FileRow
from orchestrator.files.retention import ExpireFiles
from orchestrator.lifecycle.events import EventDraft
from orchestrator.lifecycle.transition import JobRef, transition
from tests.builders.rows import make_job, make_tenant
from tests.builders.specs import make_dataset, sum_rows
from tests.builders.world import World, make_catalogue
from tests.builders.world_jobs import running, submit, want
from workers.contract.errors import ErrorCode
from workers.contract.reports import ExitClass


def test_a_job_goes_from_the_queue_to_publishing(world: World):
    job_id = running(world)
    host = world.host_of(job_id)
    host.step(job_id, times=6)
    host.checkpoint(job_id)
    host.finish(job_id, before=2.0, after=0.5)
    world.tick()
    job = world.job(job_id)
    assert (job.state, job.step, job.total_steps) == (JobState.PUBLISHING, 6, 6)
    assert (job.eval_loss_before, job.eval_loss_after) == (2.0, 0.5)
    assert world.attempts(job_id)[0].exit_class == ExitClass.OK
    told = world.messages(job_id)
    assert "Fine-tuning job started" in told
    assert "Step 6/6: training loss=0.43" in told
    assert "Checkpoint created at step 6" in told


def test_six_jobs_of_three_tenants_share_one_host(world: World):
    tenants = [make_tenant(world.db) for _ in range(3)]
    world.catalogue = make_catalogue(max_seats=8)
    world.restart_orchestrator()
    ids = [submit(world, tenant=tenant) for tenant in tenants for _ in range(2)]
    world.tick(4)
    assert len(world.hosts()) == 1
    assert {world.attempts(job_id)[0].host_id for job_id in ids} == {world.hosts()[0].id}


def test_a_dead_host_sends_its_jobs_back_to_resume_on_a_new_one(world: World):
    job_id = running(world)
    first = world.attempts(job_id)[0].host_id
    host = world.host_of(job_id)
    host.step(job_id, times=3)
    host.checkpoint(job_id)
    world.tick()
    world.cluster.kill(first)
    world.tick()
    assert world.job(job_id).state == JobState.BACKOFF
    world.tick(5)
    second = world.attempts(job_id)[1]
    assert second.host_id != first
    assert world.host_of(job_id).seats[job_id].order.resume_from[0].step == 3
    world.host_of(job_id).prepare(job_id)
    world.tick()
    assert "Fine-tuning job restarted from step 3" in world.messages(job_id)
    assert world.job(job_id).infra_failures == 1


def test_a_restarted_orchestrator_adopts_hosts_and_loses_no_report(world: World):
    job_id = running(world)
    host = world.host_of(job_id)
    host.step(job_id, times=2)
    world.restart_orchestrator()
    host.step(job_id)
    world.tick()
    steps = [message for message in world.messages(job_id) if message.startswith("Step ")]
    assert len(steps) == 3
    assert len(world.attempts(job_id)) == 1


def test_reports_are_applied_once_even_when_the_host_repeats_them(world: World):
    job_id = running(world)
    world.host_of(job_id).step(job_id)
    world.tick(3)
    assert sum(message.startswith("Step ") for message in world.messages(job_id)) == 1


def test_a_silent_host_is_left_alone_until_its_lease_lapsed_and_then_killed_before_the_retry(world: World):
    job_id = running(world)
    host_id = world.attempts(job_id)[0].host_id
    world.cluster.cut(host_id)
    world.tick(times=5, seconds=10)
    assert world.job(job_id).state == JobState.RUNNING
    world.tick(times=3, seconds=10)
    assert host_id not in world.cluster.host_ids()
    assert world.job(job_id).infra_failures == 1


def test_a_cluster_that_does_not_answer_changes_nothing(world: World):
    job_id = running(world)
    world.cluster.answers = False
    world.tick(times=30, seconds=10)
    assert world.job(job_id).state == JobState.RUNNING
    world.cluster.answers = True
    world.host_of(job_id).step(job_id)
    world.tick()
    assert world.job(job_id).step == 1


def test_a_lost_job_fails_after_its_last_retry_and_says_why(world: World):
    job_id = submit(world, max_infra_retries=1)
    for _ in range(2):
        world.tick(8)
        world.cluster.kill(world.attempts(job_id)[-1].host_id)
        world.tick()
    job = world.job(job_id)
    assert (job.state, job.error_code) == (JobState.FAILED, ErrorCode.HOST_LOST)
    assert "no retries are left" in job.error_message


def test_a_user_error_fails_at_once_with_its_code_and_every_bad_line(world: World):
    job_id = submit(world)
    world.tick(4)
    world.host_of(job_id).fail(job_id, ErrorCode.INVALID_TRAINING_FILE, message="line 3 is too long")
    world.tick()
    job = world.job(job_id)
    assert (job.state, job.error_code, job.error_param) == (JobState.FAILED, "invalid_training_file", "training_file")
    assert job.infra_failures == 0


@pytest.mark.parametrize("state", [JobState.VALIDATING, JobState.QUEUED, JobState.BACKOFF, JobState.PAUSED])
def test_cancelling_a_job_without_a_seat_ends_it(world: World, state: JobState):
    job_id = submit(world, state=state)
    want(world, job_id, Desired.CANCEL)
    world.tick()
    assert world.job(job_id).state == JobState.CANCELLED


def test_cancelling_a_running_job_frees_its_seat(world: World):
    job_id = running(world)
    want(world, job_id, Desired.CANCEL)
    world.tick(2)
    assert world.job(job_id).state == JobState.CANCELLED
    assert world.attempts(job_id)[0].exit_class == ExitClass.CANCELLED


def test_cancelling_a_job_that_was_admitted_but_never_attached_ends_it(world: World):
    job_id = submit(world)
    world.tick()
    assert world.job(job_id).state == JobState.ADMITTED
    want(world, job_id, Desired.CANCEL)
    world.tick(3)
    assert world.job(job_id).state == JobState.CANCELLED


def test_a_cancelled_job_whose_host_dies_is_cancelled_and_not_retried(world: World):
    job_id = running(world)
    want(world, job_id, Desired.CANCEL)
    world.cluster.kill(world.attempts(job_id)[0].host_id)
    world.tick()
    assert world.job(job_id).state == JobState.CANCELLED


def test_a_base_that_cannot_be_loaded_costs_a_retry_and_a_refused_one_fails_the_job(world: World):
    job_id = submit(world)
    world.tick(2)
    world.host_of(job_id).fail_to_load(ErrorCode.BASE_REFUSED, "holds pytorch_model.bin")
    world.tick()
    job = world.job(job_id)
    assert (job.state, job.error_code) == (JobState.FAILED, ErrorCode.BASE_REFUSED)
    assert "pytorch_model.bin" in job.error_message


def test_a_job_waits_with_a_reason_and_starts_when_the_device_is_free(db: Database, tmp_path: Path):
    world = World(db, tmp_path, make_catalogue("tiny", "other"))
    first = running(world)
    second = submit(world, base_id="other")
    world.tick()
    assert "every device of cpu (1) is busy" in world.job(second).queue_reason
    host = world.host_of(first)
    host.step(first, times=6)
    host.finish(first)
    world.tick(6)
    assert world.job(second).queue_reason is None
    assert world.job(second).state in (JobState.ADMITTED, JobState.STARTING)
    assert world.hosts()[0].state == "gone"


def test_a_host_nobody_wants_is_ended(world: World):
    from tests.builders.specs import make_host_spec

    world.cluster.start_host(make_host_spec(world.folder, host_id="orphan"), {"CPU": 1})
    world.tick()
    assert world.cluster.host_ids() == frozenset()


def test_a_job_stuck_beyond_its_deadline_is_tried_again(world: World):
    job_id = submit(world)
    world.tick(3)
    assert world.job(job_id).state == JobState.STARTING
    world.tick(seconds=3_700)
    assert (world.job(job_id).state, world.job(job_id).stop_reason) == (JobState.STOPPING, "stuck")
    world.tick(2)
    assert (world.job(job_id).infra_failures, world.host_of(job_id).seats) == (1, {})


def test_rows_that_stand_in_both_files_fail_the_job_by_line(world: World):
    training = make_dataset(world.folder / "train.jsonl", sum_rows(12))
    validation = make_dataset(world.folder / "valid.jsonl", sum_rows(4, start=10))
    job_id = submit(world, state=JobState.VALIDATING, spec_changes={"training": training, "validation": validation})
    world.tick()
    job = world.job(job_id)
    assert (job.error_code, job.error_param) == ("invalid_validation_file", "validation_file")
    assert "lines 1, 2" in job.error_message


def test_disjoint_files_pass_validation(world: World):
    training = make_dataset(world.folder / "train.jsonl", sum_rows(12))
    validation = make_dataset(world.folder / "valid.jsonl", sum_rows(4, start=20))
    job_id = submit(world, state=JobState.VALIDATING, spec_changes={"training": training, "validation": validation})
    world.tick()
    assert "Files validated, moving job to queued state" in world.messages(job_id)


def test_an_expired_file_is_removed_once_no_live_job_reads_it(world: World):
    job = make_job(world.db, JobState.RUNNING)
    with world.db.write() as session:
        session.execute(update(FileRow).values(expires_at=world.now, uri=(world.folder / "f" / "content").as_uri()))
    assert ExpireFiles(world.db).run_once(world.now) == {}
    with world.db.write() as session:
        transition(session, JobRef.of(job), JobState.CANCELLED, EventDraft("over"), now=world.now)
    assert ExpireFiles(world.db).run_once(world.now) == {"expired": 1}

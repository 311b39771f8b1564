"""The control loop when something is wrong with one row, one host or one report: the rest goes on."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, update

from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import JobState
from orchestrator.hosts.reconcile import LOAD_DEADLINE_S
from orchestrator.hosts.reports import RUNTIME_GRACE_S
from orchestrator.lifecycle.attempts import Seated, end_attempt
from orchestrator.lifecycle.retry_policy import AttemptEnd
from orchestrator.lifecycle.transition import JobRef
from orchestrator.submission.validate import RETRY_FOR, ROUNDS, Validate
from tests.builders.rows import make_tenant
from tests.builders.specs import make_dataset, sum_rows
from tests.builders.world import World, make_catalogue
from tests.builders.world_jobs import running, submit
from workers.contract.errors import ErrorCode, InfraError
from workers.contract.reports import ExitClass
from workers.contract.spec import JobSpec


def spoil_spec(world: World, job_id: str) -> None:
    with world.db.write() as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(spec={"written_by": "another version"}))


def offer(world: World, *bases: str, **flavor: int) -> None:
    """The operator changes the catalogue and restarts."""
    world.catalogue = make_catalogue(*bases, **flavor)
    world.restart_orchestrator()


def fail_polls(world: World, job_id: str, error: Exception) -> None:
    def poll(_cursor: int) -> None:
        raise error

    world.host_of(job_id).poll = poll  # type: ignore[method-assign,assignment]


def write_off(world: World, job_id: str) -> None:
    """The job's attempt ends in the books while its seat is still taken."""
    row = world.job(job_id)
    with world.db.write() as session:
        lost = AttemptEnd(ExitClass.INFRA, ErrorCode.HOST_LOST, "It was lost.")
        assert end_attempt(session, Seated(row, JobRef.of(row)), lost, world.now)


def test_a_seat_whose_attempt_was_ended_is_told_to_leave(world: World):
    job_id = submit(world, max_infra_retries=0)
    world.tick(3)
    host = world.host_of(job_id)
    write_off(world, job_id)
    assert world.job(job_id).state == JobState.FAILED
    host.heartbeat(job_id)
    world.tick()
    assert host.seats == {}


def test_a_seat_attached_late_beside_the_jobs_next_attempt_is_told_to_leave(world: World):
    first = running(world)
    host = world.host_of(first)
    order = host.seats[first].order
    host.seats[first].order = order.model_copy(update={"attempt": 7, "lease_token": "of a past life"})
    host.heartbeat(first)
    world.tick()
    assert first not in host.seats


def test_one_host_that_answers_nonsense_does_not_keep_the_others_from_being_heard(db: Database, tmp_path: Path):
    world = World(db, tmp_path, make_catalogue("tiny", "other", devices=2))
    jobs = [running(world), running(world, base_id="other")]
    for broken, sound in (jobs, reversed(jobs)):
        fail_polls(world, broken, InfraError("boom"))
        world.host_of(sound).__dict__.pop("poll", None)
        world.host_of(sound).step(sound)
        world.tick()
        assert world.job(sound).step == 1
        assert world.job(broken).state == JobState.RUNNING


def test_a_host_that_answers_nonsense_for_a_leases_length_is_ended(world: World):
    job_id = running(world)
    fail_polls(world, job_id, ValueError("boom"))
    world.tick(times=8, seconds=10)
    assert world.job(job_id).infra_failures == 1


def test_a_report_the_database_refuses_does_not_hold_up_the_host(world: World):
    job_id = running(world)
    host = world.host_of(job_id)
    host.step(job_id)
    host.checkpoint(job_id)
    host.checkpoint(job_id)  # the same step of the same attempt
    host.step(job_id)
    world.tick()
    assert world.job(job_id).step == 2
    assert sum(message.startswith("Checkpoint created") for message in world.messages(job_id)) == 1


def test_an_end_no_text_column_can_hold_costs_the_attempt_and_not_the_host(world: World):
    job_id, other = running(world), running(world)
    host = world.host_of(job_id)
    host.fail(job_id, message="row 3 has the role 'a\x00'")
    host.step(other)
    world.tick()
    assert world.job(job_id).state in (JobState.FAILED, JobState.BACKOFF)  # SQLite keeps a NUL, PostgreSQL refuses it
    assert world.job(other).step == 1


def test_a_result_without_its_start_is_an_end_the_machinery_answers_for(world: World):
    job_id = submit(world)
    world.tick(3)
    host = world.host_of(job_id)
    host.finish(job_id)
    world.tick()
    assert world.job(job_id).state == JobState.BACKOFF


def test_what_a_host_reported_before_it_failed_is_kept(world: World):
    done, lost = running(world), running(world)
    host = world.host_of(done)
    host.step(lost, times=2)
    host.checkpoint(lost)
    host.finish(done)
    host.fail_to_load(ErrorCode.INTERNAL, "the engine stopped")
    world.tick()
    assert world.job(done).state == JobState.PUBLISHING
    assert world.job(lost).state == JobState.BACKOFF
    assert "Checkpoint created at step 2" in world.messages(lost)


def test_a_host_that_never_answered_is_given_the_time_to_load(world: World):
    job_id = submit(world)
    world.tick()
    world.cluster.start_host(_spec_of(world), {"CPU": 1})
    world.cluster.cut(world.hosts()[0].id)
    world.tick(times=10, seconds=30)
    assert world.job(job_id).state == JobState.ADMITTED
    assert world.job(job_id).infra_failures == 0
    world.tick(times=2, seconds=LOAD_DEADLINE_S)
    assert world.job(job_id).infra_failures == 1


def _spec_of(world: World):
    from workers.contract.spec import HostSpec

    return HostSpec.model_validate(world.hosts()[0].spec)


def test_silence_is_not_counted_while_the_cluster_itself_is_away(world: World):
    job_id = running(world)
    host_id = world.attempts(job_id)[0].host_id
    world.cluster.cut(host_id)
    world.tick()
    world.cluster.answers = False
    world.tick(times=3, seconds=60)
    world.cluster.answers = True
    world.tick()
    assert world.job(job_id).state == JobState.RUNNING
    world.cluster.heal(host_id)
    world.host_of(job_id).step(job_id)
    world.tick()
    assert (world.job(job_id).step, world.job(job_id).infra_failures) == (1, 0)


def test_a_queued_job_whose_base_was_taken_from_the_catalogue_says_so_and_blocks_nobody(world: World):
    orphan = submit(world, priority=5)
    offer(world, "other")
    other = submit(world, base_id="other")
    world.tick(4)
    assert world.job(other).state in (JobState.ADMITTED, JobState.STARTING)
    assert "no longer in the catalogue" in world.job(orphan).queue_reason


def test_an_idle_host_of_a_flavor_that_was_taken_away_is_retired(world: World):
    job_id = running(world)
    host = world.host_of(job_id)
    flavor = world.catalogue.flavors[0].model_copy(update={"name": "new"})
    world.catalogue = world.catalogue.model_copy(update={"flavors": (flavor,)})
    world.restart_orchestrator()
    world.tick()
    assert world.job(job_id).state == JobState.RUNNING
    host.finish(job_id)
    world.tick(times=4, seconds=400)
    assert world.hosts()[0].state == "gone"


def test_seats_added_to_a_flavor_count_for_hosts_started_since(db: Database, tmp_path: Path):
    world = World(db, tmp_path, make_catalogue(max_seats=1))
    running(world)
    offer(world, "tiny", max_seats=4)
    waiting = submit(world)
    world.tick(12)
    job = world.job(waiting)
    assert (job.state, job.infra_failures) == (JobState.QUEUED, 0)


def test_a_host_that_is_still_full_is_asked_again(db: Database, tmp_path: Path):
    world = World(db, tmp_path, make_catalogue(max_seats=1))
    first = running(world, max_infra_retries=0)
    host = world.host_of(first)
    host.prompt = False
    write_off(world, first)
    host.detach(first, 1, ExitClass.CANCELLED)  # heard, but the host is in the middle of a long step
    second = submit(world)
    world.tick(12)
    assert (world.job(second).state, world.job(second).infra_failures) == (JobState.ADMITTED, 0)
    host.leave(first)
    world.tick()
    assert world.job(second).state == JobState.STARTING


@pytest.mark.parametrize("state", [JobState.VALIDATING, JobState.QUEUED])
def test_a_job_another_version_wrote_fails_and_the_others_go_on(world: World, state: JobState):
    unreadable = submit(world, state=state, priority=5)
    spoil_spec(world, unreadable)
    sound = submit(world)
    world.tick(4)
    assert world.job(sound).state == JobState.STARTING
    job = world.job(unreadable)
    assert (job.state, job.error_code) == (JobState.FAILED, ErrorCode.INTERNAL)
    assert all(attempt.ended_at for attempt in world.attempts(unreadable))


def test_files_that_storage_does_not_give_fail_their_job_only_after_they_were_asked_for_long_enough(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    class EndpointError(Exception):
        """Not an OSError, as with S3."""

    def away(_spec: JobSpec) -> None:
        raise EndpointError("no route to storage")

    monkeypatch.setattr("orchestrator.submission.validate.check_files", away)
    job_id = submit(world, state=JobState.VALIDATING)
    world.tick(seconds=10 * RETRY_FOR.total_seconds())  # nobody came to it before
    world.tick(seconds=10 * RETRY_FOR.total_seconds())  # and the pass that came to it may have lasted as long
    world.tick(seconds=RETRY_FOR.total_seconds())
    assert world.job(job_id).state == JobState.VALIDATING
    world.tick()
    assert world.job(job_id).error_code == ErrorCode.STORAGE_UNAVAILABLE
    assert world.messages(job_id)[-1].startswith("Fine-tuning job failed: The files could not be read")


def test_files_of_one_tenant_hold_nobody_else_up_for_more_than_one(world: World, monkeypatch: pytest.MonkeyPatch):
    busy, modest, newcomer = (make_tenant(world.db) for _ in range(3))
    checked: list[str] = []

    def check(spec: JobSpec) -> None:
        if not checked:
            waiting["n1"] = submit(world, state=JobState.VALIDATING, tenant=newcomer)
        checked.append(spec.job_id)
        return

    monkeypatch.setattr("orchestrator.submission.validate.check_files", check)
    waiting = {name: submit(world, state=JobState.VALIDATING, tenant=busy) for name in ("b1", "b2", "b3")}
    waiting["m1"] = submit(world, state=JobState.VALIDATING, tenant=modest)
    world.tick()
    assert checked == [waiting[name] for name in ("b1", "m1", "b2", "n1", "b3")]


def test_files_that_cannot_be_read_do_not_keep_their_owners_others_from_their_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    tenant = make_tenant(world.db)
    unreadable = [submit(world, state=JobState.VALIDATING, tenant=tenant) for _ in range(ROUNDS + 1)]
    sound = submit(world, state=JobState.VALIDATING, tenant=tenant)

    def check(spec: JobSpec) -> None:
        if spec.job_id != sound:
            raise PermissionError
        return

    monkeypatch.setattr("orchestrator.submission.validate.check_files", check)
    validate = Validate(world.db, world.folder.as_uri())
    assert [validate.run_once(world.now) for _ in range(3)] == [
        {"delayed": ROUNDS},
        {"delayed": 1, "validated": 1},
        {"delayed": ROUNDS},
    ]
    assert {world.job(job_id).state for job_id in unreadable} == {JobState.VALIDATING}


def test_validation_resumes_when_storage_is_back(world: World, monkeypatch: pytest.MonkeyPatch):
    training = make_dataset(world.folder / "train.jsonl", sum_rows(12))
    job_id = submit(world, state=JobState.VALIDATING, spec_changes={"training": training})
    with monkeypatch.context() as broken:
        broken.setattr("orchestrator.submission.validate.check_files", lambda _spec: 1 / 0)
        world.tick()
    world.tick()
    assert world.job(job_id).state in (JobState.QUEUED, JobState.ADMITTED)


def test_a_running_job_has_a_deadline_too(world: World):
    job_id = running(world)
    limit = JobSpec.model_validate(world.job(job_id).spec).limits.max_runtime_s
    world.tick(seconds=limit)
    assert world.job(job_id).state == JobState.RUNNING
    world.tick(seconds=RUNTIME_GRACE_S + 1)
    assert world.job(job_id).state == JobState.STOPPING
    world.tick(2)
    assert (world.job(job_id).state, world.job(job_id).error_code) == (
        JobState.FAILED,
        ErrorCode.MAX_RUNTIME_EXCEEDED,
    )


def test_polling_hosts_that_have_no_news_writes_nothing(world: World):
    job_id = running(world)
    world.tick(2)
    written: list[str] = []
    event.listen(
        world.db.engine,
        "before_cursor_execute",
        lambda _c, _cur, statement, *_: written.append(statement) if statement.startswith(("UPDATE", "INS")) else None,
    )
    world.host_of(job_id).heartbeat(job_id)
    world.tick(3)
    assert written == []
    before = world.attempts(job_id)[0].lease_until
    world.tick(seconds=30)
    assert world.attempts(job_id)[0].lease_until >= before + timedelta(seconds=30)


def test_many_waiting_jobs_are_told_why_in_one_transaction(world: World):
    running(world)
    offer(world, "tiny", "other")
    waiting = [submit(world, base_id="other") for _ in range(5)]
    began: list[object] = []
    event.listen(world.db.engine, "commit", began.append)
    world.tick()
    assert all(world.job(job_id).queue_reason for job_id in waiting)
    assert len(began) < len(waiting)

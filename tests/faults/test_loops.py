"""Faults of the orchestrator and of what it leans on, in this process, over both databases and in virtual time."""

from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from orchestrator.bases.review import UNSEEN_FOR, ReviewBases
from orchestrator.db.database import Database
from orchestrator.db.states import Desired, JobState
from orchestrator.encodings.gc import EncodingGc
from orchestrator.files.retention import ExpireFiles
from orchestrator.hosts.stall_detector import StallLimits
from orchestrator.lifecycle.desired import cancel
from orchestrator.registry.errors import RegistryUnavailable
from orchestrator.steps.step import StepSequence
from tests.builders.rows import make_file, make_tenant
from tests.builders.specs import make_dataset, sum_rows
from tests.builders.world_jobs import running, submit, want
from tests.faults.dying import Died, Town, dying_at
from workers.contract.errors import ErrorCode
from workers.contract.reports import ExitClass

ON_THE_WAY = (
    "schedule.applied",
    "hosts.started",
    "hosts.polled",
    "hosts.taken",
    "seats.attached",
    "publish.fetched",
    "publish.registered",
    "publish.result",
    "publish.before_commit",
)
"""Places that every job's orchestrator passes."""


@pytest.fixture
def town(db: Database, tmp_path: Path) -> Town:
    return Town(db, tmp_path)


def succeeded_once(town: Town, *job_ids: str) -> None:
    for job_id in job_ids:
        assert town.job(job_id).state == JobState.SUCCEEDED, town.job(job_id).error_message
        assert sum("successfully completed" in message for message in town.messages(job_id)) == 1
        steps = [message for message in town.messages(job_id) if message.startswith("Step ")]
        assert len(steps) == len(set(steps))
    assert set(town.registry.versions) == set(job_ids)


@pytest.mark.parametrize("place", ON_THE_WAY)
def test_f03_an_orchestrator_that_dies_anywhere_on_a_jobs_way_is_replaced_and_nothing_happens_twice(
    town: Town, place: str
):
    jobs = [submit(town), submit(town)]
    with dying_at(place) as struck:
        town.live_until_over(*jobs)
    assert struck
    succeeded_once(town, *jobs)
    assert [len(town.attempts(job_id)) for job_id in jobs] == [1, 1]
    assert len(town.hosts()) == 1


def test_f05_the_outcome_of_a_seat_is_not_lost_with_the_process_that_held_it(town: Town):
    job_id = running(town)
    host = town.host_of(job_id)
    host.step(job_id, times=6)
    host.finish(job_id)
    with dying_at("hosts.polled") as struck:
        town.live_on()
    assert struck
    town.live_until_over(job_id)
    succeeded_once(town, job_id)


def test_f08_orchestrators_whose_clocks_differ_by_ten_minutes_and_step_back_end_no_healthy_attempt(town: Town):
    job_id = running(town)
    host = town.host_of(job_id)
    right = town.now
    for skew in (600, -600, 0, 600, -1_200, 0):
        town.restart_orchestrator()
        town.now = right + timedelta(seconds=skew)
        host.step(job_id) if host.seats[job_id].step < 5 else None
        host.heartbeat(job_id)
        town.tick(3)
        right += timedelta(seconds=3)
    town.now = right
    assert town.job(job_id).state == JobState.RUNNING
    host.finish(job_id)
    town.live_until_over(job_id)
    assert len(town.attempts(job_id)) == 1


@contextmanager
def database_away(db: Database):
    """Every new transaction fails. Yields the list that counts them."""
    refused: list[int] = []

    def refuse(*_args, **_kwargs):
        refused.append(1)
        raise OperationalError("BEGIN", None, Exception("server closed the connection unexpectedly"))

    with patch.multiple(Database, **dict.fromkeys(("read", "write"), refuse)):
        yield refused


def test_f10_while_the_database_is_away_hosts_train_on_and_nothing_is_restarted(town: Town):
    job_id = running(town)
    host = town.host_of(job_id)
    with database_away(town.db) as refused:
        for _ in range(12):
            town.now += timedelta(seconds=10)
            StepSequence(town.steps).run_once(town.now)
            host.heartbeat(job_id)
    host.step(job_id, times=6)
    host.finish(job_id)
    town.live_until_over(job_id)
    assert len(refused) > 12
    assert len(town.attempts(job_id)) == 1
    succeeded_once(town, job_id)


class LostAnswers:
    """Every n-th transaction commits, and says that it did not."""

    def __init__(self, every: int) -> None:
        self.every, self.begun, self.lost = every, 0, 0
        self._write = Database.write

    def install(self):
        injector = self

        @contextmanager
        def write(db: Database):
            with injector._write(db) as session:
                yield session
            injector.begun += 1
            if injector.begun % injector.every == 0:
                injector.lost += 1
                raise OperationalError("COMMIT", None, Exception("the answer was lost"))

        return patch.object(Database, "write", write)


@pytest.mark.parametrize("every", [2, 3, 5])
def test_f09_transactions_whose_result_is_unknown_are_neither_lost_nor_doubled(town: Town, every: int):
    jobs = [submit(town) for _ in range(3)]
    answers = LostAnswers(every)
    with answers.install():
        for _ in range(40):
            try:
                town.live_on(seconds=5)
            except OperationalError:
                continue
    assert answers.lost > 5
    town.live_until_over(*jobs)
    succeeded_once(town, *jobs)


def test_f18_a_host_that_answers_and_gets_nowhere_is_ended_at_no_cost_to_the_owners_budget(town: Town):
    job_id = running(town, spec_changes={"max_runtime_s": 86_400})
    first = town.host_of(job_id)
    for _ in range(int(StallLimits().training_s / 20) + 3):
        if len(town.attempts(job_id)) > 1 or town.job(job_id).state != JobState.RUNNING:
            break
        first.heartbeat(job_id)
        town.tick(seconds=20)
    assert town.attempts(job_id)[0].exit_class == ExitClass.INFRA
    assert town.job(job_id).user_failures == 0
    town.live_until_over(job_id)
    succeeded_once(town, job_id)


def test_f24_an_error_of_the_jobs_own_fails_it_at_once(town: Town):
    job_id = running(town)
    town.host_of(job_id).fail(job_id, ErrorCode.NON_FINITE_LOSS, ExitClass.USER, "the loss is nan")
    town.tick()
    job = town.job(job_id)
    assert (job.state, job.error_code, job.infra_failures) == (JobState.FAILED, ErrorCode.NON_FINITE_LOSS, 0)
    assert [attempt.exit_class for attempt in town.attempts(job_id)] == [ExitClass.USER]


@pytest.mark.parametrize("passes", range(9))
def test_f25_a_job_cancelled_twice_at_any_moment_ends_once(town: Town, passes: int):
    job_id = submit(town)
    for _ in range(passes):
        town.live_on()
    before = town.job(job_id)
    tenant = before.tenant_id
    refused = before.finished_at is not None and before.state != JobState.CANCELLED
    for _ in range(2):
        if refused:
            with pytest.raises(Exception, match="already completed"):
                cancel(town.db, tenant, job_id)
        else:
            cancel(town.db, tenant, job_id)
    town.live_until_over(job_id)
    job = town.job(job_id)
    assert job.state == (JobState.SUCCEEDED if refused else JobState.CANCELLED)
    assert all(attempt.ended_at for attempt in town.attempts(job_id))
    town.check()


@pytest.mark.parametrize("place", ["seats.detached", "hosts.polled", "schedule.applied"])
def test_f25_an_orchestrator_that_dies_while_it_cancels_leaves_no_seat_taken(town: Town, place: str):
    job_id = running(town)
    other = submit(town)
    town.host_of(job_id).prompt = False
    want(town, job_id, Desired.CANCEL)
    with dying_at(place) as struck:
        for _ in range(3):
            try:
                town.tick()
            except Died:
                town.restart_orchestrator()
    assert struck
    host = town.host_of(job_id)
    if host.seats[job_id].asked_to_leave:
        host.leave(job_id)
    town.live_until_over(job_id, other)
    assert town.job(job_id).state == JobState.CANCELLED


@pytest.mark.parametrize("moment", ["starting", "running", "publishing"])
def test_f26_a_seat_that_must_be_given_up_loses_nothing_beyond_its_last_checkpoint(town: Town, moment: str):
    job_id = submit(town)
    town.tick(4)
    host = town.host_of(job_id)
    if moment != "starting":
        host.prepare(job_id, total_steps=6)
        host.step(job_id, times=4)
        town.tick()
    if moment == "publishing":
        host.step(job_id, times=2)
        host.finish(job_id)
        town.tick()
    host.detach(job_id, 1, ExitClass.PREEMPTED)
    town.tick()
    if moment == "publishing":
        assert town.job(job_id).state == JobState.PUBLISHING
    town.live_until_over(job_id)
    succeeded_once(town, job_id)
    if moment == "running":
        assert town.attempts(job_id)[1].resumed_from_step == 4
        assert town.job(job_id).infra_failures == 0


def test_f29_a_registry_that_is_away_and_then_fails_after_success_makes_one_version(town: Town):
    job_id = submit(town)
    town.registry.failures = [RegistryUnavailable() for _ in range(40)]
    for _ in range(60):
        town.live_on(seconds=16)
    assert town.registry.failures == []
    town.live_until_over(job_id)
    succeeded_once(town, job_id)


def test_f30_an_older_orchestrator_works_on_a_newer_schema(town: Town):
    with town.db.open_writer() as connection, connection.begin():
        for table in ("job", "attempt", "event", "host", "checkpoint"):
            connection.execute(text(f"ALTER TABLE {table} ADD COLUMN of_the_future TEXT"))
    job_id = submit(town)
    town.live_until_over(job_id)
    succeeded_once(town, job_id)


def test_f30_an_old_and_a_new_orchestrator_side_by_side_move_a_job_once(town: Town):
    jobs = [submit(town) for _ in range(3)]
    old = town.steps
    town.restart_orchestrator()
    new = town.steps
    for turn in range(30):
        town.steps = new if turn % 2 else old
        town.live_on()
    town.live_until_over(*jobs)
    succeeded_once(town, *jobs)


def test_f33_a_collection_that_dies_after_each_move_is_completed_by_the_next(town: Town):
    jobs = [submit(town) for _ in range(3)]
    town.tick(4)
    town.cluster.kill(town.hosts()[0].id)
    town.tick()
    assert {town.job(job_id).state for job_id in jobs} == {JobState.BACKOFF}
    with dying_at("deadlines.moved") as struck:
        town.live_until_over(*jobs)
    assert struck
    succeeded_once(town, *jobs)
    assert [len(town.attempts(job_id)) for job_id in jobs] == [2, 2, 2]


@pytest.mark.parametrize("place", ["encodings.claimed", "encodings.sent", "encodings.polled", "encodings.promoted"])
def test_f38_an_orchestrator_that_dies_while_files_are_encoded_is_replaced_and_each_job_is_queued_once(
    town: Town, place: str
):
    tenant = make_tenant(town.db)
    jobs = []
    for name in ("one", "two"):
        data = make_dataset(town.folder / f"{name}.jsonl", sum_rows(12, start=sum(map(ord, name))))
        jobs.append(submit(town, state=JobState.VALIDATING, tenant=tenant, spec_changes={"training": data}))
    with dying_at(place) as struck:
        town.live_until_over(*jobs, seconds=20)
    assert struck
    succeeded_once(town, *jobs)
    for job_id in jobs:
        assert sum("moving job to queued state" in message for message in town.messages(job_id)) == 1
        assert len(town.attempts(job_id)) == 1


def test_f38_a_collection_of_encoded_rows_that_dies_between_bytes_and_row_is_completed(town: Town):
    job_id = submit(town)
    town.live_until_over(job_id)
    gc = EncodingGc(town.db, 3_600)
    town.now += timedelta(days=1)
    with dying_at("encodings.erased") as struck, pytest.raises(Died):
        gc.run_once(town.now)
    assert struck
    assert gc.run_once(town.now) == {"encodings_erased": 1}
    assert gc.run_once(town.now) == {}


@pytest.mark.parametrize("place", ["hosts.marked_stopping", "hosts.stopped"])
def test_f33_the_end_of_a_host_is_taken_up_again_wherever_it_was_left(town: Town, place: str):
    job_id = running(town)
    town.cluster.cut(town.attempts(job_id)[0].host_id)
    with dying_at(place) as struck:
        for _ in range(12):
            town.live_on(seconds=30)
    assert struck
    town.live_until_over(job_id)
    succeeded_once(town, job_id)


@pytest.mark.parametrize(
    "place",
    ["hosts.polled", "hosts.taken", "hosts.failed", "hosts.marked_stopping", "hosts.stopped", "bases.ended_waiting"],
)
def test_f37_a_base_that_failed_is_marked_and_ends_its_jobs_once_wherever_the_orchestrator_dies(town: Town, place: str):
    placed, waiting = [submit(town) for _ in range(4)], [submit(town) for _ in range(2)]
    town.tick(2)
    town.host_of(placed[0]).fail_to_load(ErrorCode.BASE_UNUSABLE, "Base tiny cannot be used.")
    with dying_at(place) as struck:
        for _ in range(4):
            town.live_on()
    assert struck
    for job_id in placed + waiting:
        assert (town.job(job_id).state, town.job(job_id).error_code) == (JobState.FAILED, ErrorCode.BASE_UNUSABLE)
        assert sum("job failed" in message for message in town.messages(job_id)) == 1
    assert [len(town.attempts(job_id)) for job_id in placed + waiting] == [1] * 4 + [0] * 2
    assert len(town.hosts()) == 1


def test_f37_a_review_that_dies_after_lifting_a_mark_is_completed_by_the_next(town: Town):
    job_id = submit(town)
    town.tick(2)
    town.host_of(job_id).fail_to_load(ErrorCode.BASE_UNUSABLE, "Base tiny cannot be used.")
    town.tick()
    review = ReviewBases(town.db, town.catalogue)
    review.run_once(town.now)
    town.now += UNSEEN_FOR
    with dying_at("bases.lifted") as struck, pytest.raises(Died):
        review.run_once(town.now)
    assert struck
    assert review.run_once(town.now) == {}
    again = submit(town)
    town.live_until_over(again)
    succeeded_once(town, again)


def test_f33_expiry_that_dies_between_row_and_bytes_deletes_nothing_alive(town: Town):
    tenant = make_tenant(town.db)
    past, files = town.now - timedelta(seconds=1), {}
    for name, expires in (("old", past), ("older", past), ("alive", None)):
        data = make_dataset(town.folder / name / "content")
        files[name] = make_file(town.db, tenant, uri=data.uri, expires_at=expires)
    with dying_at("expire.unlinked") as struck, pytest.raises(Died):
        ExpireFiles(town.db).run_once(town.now)
    assert struck
    ExpireFiles(town.db).run_once(town.now)
    assert (town.folder / "alive" / "content").exists()

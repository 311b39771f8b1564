"""Files become tokens before any device is taken: errors come early, stored rows are shared, machines' failures are
nobody's fault, and tenants take turns.
"""

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from orchestrator.db.database import Database
from orchestrator.db.encoding_tables import EncodingRow, EncodingState
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import Desired, JobState
from orchestrator.db.tables import FileRow, TenantRow
from orchestrator.encodings.claims import LEASE, Waiting, next_served
from orchestrator.encodings.encode import TAKING
from orchestrator.encodings.gc import EncodingGc
from orchestrator.encodings.keys import encoding_key
from orchestrator.encodings.orphans import OrphanEncodings
from orchestrator.encodings.settle import MAX_FAILURES
from orchestrator.queries.jobs import get_job
from tests.builders.rows import NOW, make_file, make_tenant
from tests.builders.specs import make_dataset, make_job_spec, sum_rows
from tests.builders.world import World
from tests.builders.world_jobs import running, submit, want
from workers.contract.errors import ErrorCode
from workers.contract.reports import ExitClass
from workers.contract.rows import RowIssue
from workers.contract.spec import JobSpec

BAD = RowIssue(line=3, code="too_long", message="row has 322 tokens but max_seq_len is 128")


@pytest.fixture
def world(db: Database, tmp_path: Path) -> World:
    return World(db, tmp_path, encodes_at_once=False)


def waiting(world: World, name: str = "train", tenant: TenantRow | None = None, **spec: Any) -> str:
    """A job whose files are to be validated."""
    training = make_dataset(world.folder / f"{name}.jsonl", sum_rows(12, start=sum(map(ord, name))))
    tenant = tenant or make_tenant(world.db)
    columns = {"validation_file_id": make_file(world.db, tenant).id} if "validation" in spec else {}
    changes = {"training": training} | spec
    return submit(world, state=JobState.VALIDATING, tenant=tenant, spec_changes=changes, **columns)


def encodings(world: World) -> list[EncodingRow]:
    with world.db.read() as session:
        return list(session.scalars(select(EncodingRow).order_by(EncodingRow.created_at, EncodingRow.key)))


def test_a_bad_file_fails_and_a_good_one_waits_encoded_while_no_device_is_free(world: World) -> None:
    holder = running(world)
    full = [submit(world) for _ in range(3)]
    world.tick(3)
    bad, good = waiting(world, "bad"), waiting(world, "good")
    world.tick()
    world.encoder.refuse(BAD)
    world.tick()
    world.encoder.finish()
    world.tick()
    assert all(world.attempts(job_id) for job_id in (holder, *full)), "every seat is taken"
    failed, queued = world.job(bad), world.job(good)
    assert (failed.state, failed.error_code) == (JobState.FAILED, ErrorCode.INVALID_TRAINING_FILE)
    assert failed.error_message == (
        f"file {JobSpec.model_validate(failed.spec).data.training.file_id}: 1 row(s) cannot be used. "
        f"The 1 problem is in GET /v1/fine_tuning/jobs/{bad}/x/issues (orchard issues {bad})."
    )
    assert "Line 3: row has 322 tokens but max_seq_len is 128" in world.messages(bad)
    assert world.attempts(bad) == []
    assert queued.state == JobState.QUEUED
    shown = get_job(world.db, queued.tenant_id, good, world.now).x_orchard.encoded
    assert shown is not None
    assert (shown.training.rows, shown.training.tokens, shown.training.trained_tokens) == (12, 96, 48)


def test_a_second_job_on_the_same_data_is_queued_without_an_encoder(world: World) -> None:
    tenant = make_tenant(world.db)
    waiting(world, tenant=tenant)
    world.tick()
    world.encoder.finish()
    world.tick()
    second = waiting(world, tenant=tenant)
    world.tick()
    assert world.job(second).state in (JobState.QUEUED, JobState.ADMITTED)
    assert len(world.encoder.seen) == len(encodings(world)) == 1


def test_two_tenants_never_share_encoded_rows(tmp_path: Path) -> None:
    mine, theirs = (make_job_spec(tmp_path, tenant_id=tenant) for tenant in ("tenant-a", "tenant-b"))
    assert encoding_key(mine, mine.data.training) != encoding_key(theirs, theirs.data.training)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("base", "revision"), "other"),
        (("base", "chat_template"), "{{ messages }}"),
        (("data", "max_seq_len"), 64),
        (("data", "overlength"), "drop"),
        (("data", "special_tokens"), "parse"),
        (("data", "training", "sha256"), "1" * 64),
    ],
)
def test_whatever_changes_the_tokens_changes_the_key(tmp_path: Path, path: tuple[str, ...], value: Any) -> None:
    spec = make_job_spec(tmp_path)
    changed = spec.model_dump(mode="json")
    within = changed
    for part in path[:-1]:
        within = within[part]
    within[path[-1]] = value
    other = JobSpec.model_validate(changed)
    assert encoding_key(spec, spec.data.training) != encoding_key(other, other.data.training)


@pytest.mark.parametrize(("template", "same"), [("{{ strftime_now('%d') }}", False), ("{{ messages }}", True)])
def test_a_job_of_another_day_has_other_rows_only_where_the_template_prints_the_day(
    tmp_path: Path, template: str, same: bool
) -> None:
    spec = make_job_spec(tmp_path)
    spec = spec.model_copy(update={"base": spec.base.model_copy(update={"chat_template": template})})
    keys = set()
    for day in (date(2026, 1, 31), date(2026, 2, 1)):
        of_day = spec.model_copy(update={"data": spec.data.model_copy(update={"created_on": day})})
        keys.add(encoding_key(of_day, of_day.data.training))
    assert (len(keys) == 1) is same


def test_name_and_place_of_a_file_do_not_change_the_key(tmp_path: Path) -> None:
    spec = make_job_spec(tmp_path)
    moved = spec.data.training.model_copy(update={"file_id": "file-other", "uri": "file:///elsewhere"})
    assert encoding_key(spec, spec.data.training) == encoding_key(spec, moved)


def test_bad_rows_of_a_validation_file_fail_the_job_under_the_code_of_that_file_and_name_it(world: World) -> None:
    validation = make_dataset(world.folder / "valid.jsonl", sum_rows(4, start=900))
    job_id = waiting(world, validation=validation)
    world.tick()
    assert [order.dataset.rows for order in world.encoder.orders] == [12, 4], "both files of a job go to one encoder"
    world.encoder.finish()
    world.encoder.refuse(BAD)
    world.tick()
    assert world.job(job_id).error_code == ErrorCode.INVALID_VALIDATION_FILE
    assert "Validation file, line 3: row has 322 tokens but max_seq_len is 128" in world.messages(job_id)


def test_an_encoder_serves_tenants_in_turn_and_a_slow_file_holds_up_nobody_beyond_its_own(world: World) -> None:
    busy, modest = make_tenant(world.db), make_tenant(world.db)
    jobs = {name: waiting(world, name, busy) for name in ("b1", "b2", "b3")}
    world.tick()
    jobs["m1"] = waiting(world, "m1", modest)
    for _ in range(3):
        world.tick()
        world.encoder.finish()
        world.tick()
    served = [order.dataset.file_id.removeprefix("file-") for order in world.encoder.seen]
    assert served[:3] == ["b1", "m1", "b2"]
    assert world.job(jobs["m1"]).state != JobState.VALIDATING


def test_encoders_go_to_the_tenant_with_fewest_then_to_the_one_served_longest_ago() -> None:
    queue = [Waiting("a", 1), Waiting("a", 2), Waiting("b", 3), Waiting("c", 4)]
    served = {"a": NOW, "b": NOW + timedelta(seconds=1)}
    assert [each.seq for each in next_served(queue, {}, served, 4)] == [4, 1, 3, 2]
    assert [each.seq for each in next_served(queue, {"c": 1}, served, 2)] == [1, 3]
    assert next_served(queue, {}, served, 0) == []
    looked_at = Waiting("a", 0, "preview")
    assert next_served([*queue, looked_at], {}, served, 2) == [queue[3], looked_at], (
        "in its tenant's turn, before its jobs"
    )


@pytest.mark.parametrize("desired", [Desired.CANCEL, Desired.PAUSE, Desired.SUSPEND])
def test_a_job_that_is_cancelled_or_rests_stops_the_encoder(world: World, desired: Desired) -> None:
    job_id = waiting(world)
    world.tick()
    (order,) = world.encoder.orders
    want(world, job_id, desired)
    world.tick(2)
    assert world.encoder.abandoned == [order.key]
    assert [row.state for row in encodings(world)] == [EncodingState.WAITING]
    assert world.job(job_id).state == (JobState.CANCELLED if desired is Desired.CANCEL else JobState.PAUSED)
    if desired is not Desired.CANCEL:
        want(world, job_id, Desired.RUN)
        world.tick(2)
        world.encoder.finish()
        world.tick()
        assert world.job(job_id).state != JobState.VALIDATING


def test_an_encoder_that_dies_is_replaced_and_the_job_pays_nothing(world: World) -> None:
    job_id = waiting(world)
    world.tick()
    first = world.encoder
    world.cluster.kill_encoder(0)
    world.tick()
    world.tick(seconds=5)
    assert world.encoder is not first
    assert [order.attempt for order in world.encoder.orders] == [2]
    world.encoder.finish()
    world.tick()
    job = world.job(job_id)
    assert job.state != JobState.VALIDATING
    assert (job.infra_failures, job.user_failures) == (0, 0)


def test_an_order_that_never_arrived_is_given_again(world: World) -> None:
    job_id = waiting(world)
    world.tick()
    world.encoder.orders.clear()
    world.tick(seconds=TAKING.total_seconds() / 2)
    assert world.encoder.orders == []
    world.tick(seconds=TAKING.total_seconds())
    assert [order.attempt for order in world.encoder.orders] == [2]
    assert world.job(job_id).state == JobState.VALIDATING


def test_a_result_of_an_earlier_try_is_not_taken_for_the_newest(world: World) -> None:
    waiting(world)
    world.tick()
    stale = world.encoder
    world.cluster.kill_encoder(0)
    world.tick()
    world.tick(seconds=5)
    stale.refuse(BAD)
    world.cluster._encoders[0] = stale
    world.tick()
    assert [row.state for row in encodings(world)] == [EncodingState.RUNNING]


def test_a_silent_encoder_is_given_up_after_its_lease_and_not_before(world: World) -> None:
    job_id = waiting(world)
    world.tick()
    world.cluster.answers = False
    world.tick(seconds=LEASE.total_seconds() - 5)
    assert encodings(world)[0].state == EncodingState.RUNNING
    world.tick(seconds=10)
    assert encodings(world)[0].state == EncodingState.WAITING
    world.cluster.answers = True
    world.tick(seconds=10)
    world.encoder.finish()
    world.tick()
    assert world.job(job_id).state != JobState.VALIDATING


def test_a_storage_outage_is_retried_with_pauses_that_grow_and_then_ends_the_job_through_no_fault_of_its_file(
    world: World,
) -> None:
    job_id = waiting(world)
    pauses: list[float] = []
    for _ in range(MAX_FAILURES + 1):
        world.tick(seconds=700)
        if not world.encoder.orders:
            break
        world.encoder.fail(ErrorCode.STORAGE_UNAVAILABLE)
        world.tick()
        (row,) = encodings(world)
        pauses += [] if row.not_before is None else [(row.not_before - world.now).total_seconds()]
    assert pauses[:3] == sorted(pauses[:3])
    assert len(set(pauses[:3])) == 3
    job = world.job(job_id)
    assert (job.state, job.error_code) == (JobState.FAILED, ErrorCode.STORAGE_UNAVAILABLE)
    assert "tries in a row failed" in (job.error_message or "")


def test_a_file_that_failed_is_tried_again_for_the_next_job(world: World) -> None:
    tenant = make_tenant(world.db)
    waiting(world, tenant=tenant)
    world.tick()
    world.encoder.refuse(BAD)
    world.tick()
    again = waiting(world, tenant=tenant)
    world.tick()
    world.encoder.finish()
    world.tick()
    assert world.job(again).state != JobState.FAILED


def test_rows_that_a_host_finds_lost_are_encoded_again_and_queued_jobs_wait_for_them(world: World) -> None:
    tenant = make_tenant(world.db)
    first = waiting(world, tenant=tenant)
    world.tick()
    world.encoder.finish()
    world.tick(4)
    sharing = [waiting(world, tenant=tenant) for _ in range(4)]
    world.tick(3)
    queued = [job_id for job_id in sharing if world.job(job_id).state == JobState.QUEUED]
    assert queued, "the host has four seats"
    world.host_of(first).fail(first, ErrorCode.ENCODED_ROWS_LOST, ExitClass.INFRA, "gone")
    world.tick()
    assert {world.job(job_id).state for job_id in (first, *queued)} <= {JobState.BACKOFF, JobState.VALIDATING}
    world.tick(seconds=5)
    world.encoder.finish()
    world.tick(3, seconds=5)
    assert {world.job(job_id).state for job_id in (first, *queued)} <= {JobState.QUEUED, JobState.STARTING}
    assert len(world.encoder.seen) == 2


def test_a_job_of_an_earlier_version_without_encoded_rows_is_encoded_and_trains(world: World) -> None:
    training = make_dataset(world.folder / "old.jsonl")
    job_id = submit(world, spec_changes={"training": training}, training_encoding=None)
    world.tick(4)
    assert [attempt.exit_class for attempt in world.attempts(job_id)] == [ExitClass.INFRA]
    world.tick(3, seconds=5)
    world.encoder.finish()
    world.tick(4)
    assert world.job(job_id).state == JobState.STARTING


def test_dropped_rows_are_known_before_the_job_is_placed(world: World) -> None:
    job_id = waiting(world)
    planned = world.job(job_id).total_steps
    world.tick()
    order = world.encoder.orders[0]
    world.encoder.orders[0] = order.model_copy(
        update={"data": order.data.model_copy(update={"training": order.dataset.model_copy(update={"rows": 4})})}
    )
    world.encoder.finish()
    world.tick()
    assert (planned, world.job(job_id).total_steps) == (6, 2)


UNUSED_S = 7 * 86_400


def collect(world: World, days: float) -> dict[str, int]:
    return dict(EncodingGc(world.db, UNUSED_S).run_once(world.now + timedelta(days=days)))


def finished(world: World) -> Path:
    """The folder of the encoded rows of a job that is over."""
    job_id = waiting(world)
    world.tick()
    (order,) = world.encoder.orders
    folder = Path(order.uri.removeprefix("file://"))
    folder.mkdir(parents=True)
    (folder / "rows.safetensors").write_bytes(b"rows")
    world.encoder.finish()
    want(world, job_id, Desired.CANCEL)
    world.tick(4)
    return folder


def test_encoded_rows_go_once_no_job_needed_them_for_long(world: World) -> None:
    folder = finished(world)
    assert collect(world, days=6) == {}
    assert folder.exists()
    assert collect(world, days=8) == {"encodings_erased": 1}
    assert not folder.exists()
    assert encodings(world) == []


def test_encoded_rows_of_a_live_job_stay_however_long_it_waits(world: World) -> None:
    waiting(world)
    world.tick()
    world.encoder.finish()
    world.tick()
    assert collect(world, days=400) == {}
    assert len(encodings(world)) == 1


def test_encoded_rows_go_with_their_file(world: World) -> None:
    folder = finished(world)
    with world.db.write() as session:
        session.execute(update(FileRow).values(deleted_at=world.now))
        session.execute(update(EncodingRow).values(file_id=select(FileRow.id).scalar_subquery()))
    assert collect(world, days=0) == {"encodings_erased": 1}
    assert not folder.exists()


def test_what_a_dead_encoder_left_is_removed_a_day_later_and_nothing_else(world: World) -> None:
    kept = finished(world)
    left = [kept.with_name(f".{kept.name}.tmp-1"), kept.with_name("0" * 64)]
    for folder in left:
        folder.mkdir()
        (folder / "rows.safetensors").write_bytes(b"half of the ro")
    now = datetime.now(UTC)  # storage has a clock of its own
    collect = OrphanEncodings(world.db, world.folder.as_uri(), 86_400)
    assert collect.run_once(now) == {}
    assert collect.run_once(now + timedelta(days=2)) == {"orphans": 2}
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def test_a_job_that_needs_what_is_being_deleted_waits_and_has_it_encoded_anew(world: World) -> None:
    tenant = make_tenant(world.db)
    waiting(world, tenant=tenant)
    world.tick()
    world.encoder.finish()
    world.tick()
    values = {"state": EncodingState.DELETING, "encoded": None}
    with world.db.write() as session:
        session.execute(update(EncodingRow).values(**values))
    late = waiting(world, tenant=tenant)
    for step in world.before_queue:
        step.run_once(world.now)
    assert world.job(late).training_encoding is None
    shutil.rmtree(world.folder / "tenants", ignore_errors=True)
    assert collect(world, days=0) == {"encodings_erased": 1}
    world.before_queue[0].run_once(world.now)
    assert [row.state for row in encodings(world)] == [EncodingState.WAITING]


@pytest.mark.parametrize("role", ["training", "validation"])
def test_a_job_whose_encoding_is_gone_has_it_made_anew(world: World, role: str) -> None:
    validation = make_dataset(world.folder / "valid.jsonl", sum_rows(4, start=900))
    job_id = waiting(world, validation=validation)
    world.tick()
    key = world.job(job_id).training_encoding if role == "training" else world.job(job_id).validation_encoding
    with world.db.write() as session:
        session.execute(delete(EncodingRow).where(EncodingRow.key == key))
    world.tick()
    for _ in range(3):
        while world.encoder.orders:
            world.encoder.finish()
        world.tick()
    assert world.job(job_id).state != JobState.VALIDATING


def test_a_job_of_another_version_ends_instead_of_being_first_in_every_pass(world: World) -> None:
    tenant = make_tenant(world.db)
    first, second = waiting(world, "one", tenant), waiting(world, "two", tenant)
    world.before_queue[0].run_once(world.now)
    with world.db.write() as session:
        session.execute(update(JobRow).where(JobRow.id == first).values(spec={"from": "tomorrow"}))
    world.before_queue[1].run_once(world.now)
    world.before_queue[1].run_once(world.now)
    assert (world.job(first).state, world.job(first).error_code) == (JobState.FAILED, ErrorCode.INTERNAL)
    assert [order.dataset.file_id for order in world.encoder.orders] == ["file-two"]
    assert second

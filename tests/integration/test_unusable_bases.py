"""A base that no host can load: one end for each job, no restarts, and a fresh look once something has changed."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from orchestrator.bases.review import UNSEEN_FOR, ReviewBases
from orchestrator.catalogue.entries import Catalogue, CatalogueBase
from orchestrator.cluster.inprocess import InProcessCluster
from orchestrator.db.database import Database
from orchestrator.db.host_states import HostState
from orchestrator.db.states import Desired, JobState
from orchestrator.db.tables import UnusableBaseRow
from orchestrator.errors import InvalidRequest
from orchestrator.queries.why import why
from orchestrator.scheduling.actions import StartHost
from orchestrator.scheduling.load import load_snapshot
from orchestrator.scheduling.plan import plan
from orchestrator.scheduling.schedule import Schedule
from orchestrator.submission.estimate import estimate
from orchestrator.submission.request import JobRequest
from orchestrator.submission.submit import SubmitDeps
from orchestrator.submission.submit import submit as post
from orchestrator.tenancy.views import Tenant
from tests.builders.base_folder import make_folder
from tests.builders.rows import make_file, make_tenant
from tests.builders.scripted_host import ScriptedHost
from tests.builders.world import World, make_catalogue
from tests.builders.world_jobs import submit, want
from workers.contract.base import ComputeDtype, Quantization
from workers.contract.errors import FAULTS_OF_A_BASE, ErrorCode

WHY = "Base tiny cannot be used as its catalogue entry asks."


def with_source(folder: Path, catalogue: Catalogue) -> Catalogue:
    """The catalogue whose first base lies in `folder`."""
    first, *others = catalogue.bases
    moved = first.model_copy(update={"spec": first.spec.model_copy(update={"source": f"file:{folder}"})})
    return catalogue.model_copy(update={"bases": (moved, *others)})


@pytest.fixture
def seen(db: Database, tmp_path: Path) -> World:
    """A world whose base's files can be seen from the control plane."""
    base = make_folder(tmp_path / "base")
    world = World(db, tmp_path, with_source(base, make_catalogue("tiny", "other", devices=2)))
    world.base = base  # type: ignore[attr-defined]
    return world


def failed_job(world: World, code: ErrorCode = ErrorCode.BASE_UNUSABLE, **changes) -> str:
    """A job whose host could not load the base."""
    job_id = submit(world, **changes)
    world.tick(2)
    world.host_of(job_id).fail_to_load(code, WHY)
    world.tick()
    return job_id


def marks(world: World) -> list[UnusableBaseRow]:
    with world.db.read() as session:
        return list(session.scalars(select(UnusableBaseRow)))


def review(world: World, seconds: float = 5) -> dict[str, int]:
    world.now += timedelta(seconds=seconds)
    return dict(ReviewBases(world.db, world.catalogue).run_once(world.now))


def try_to_post(world: World, model: str = "tiny", **x_orchard) -> str:
    row = make_tenant(world.db)
    file = make_file(world.db, row)
    request = JobRequest.model_validate({"model": model, "training_file": file.id, "x_orchard": x_orchard})
    deps = SubmitDeps(world.db, world.catalogue, world.folder.as_uri(), 50)
    tenant = Tenant(row.id, row.slug, row.name, None)
    estimate(deps, tenant, request, world.now)
    return post(deps, tenant, request, None, world.now)


@pytest.mark.parametrize("code", sorted(FAULTS_OF_A_BASE))
def test_a_fault_of_the_base_ends_every_waiting_job_once_and_starts_no_second_host(world: World, code: ErrorCode):
    placed = [submit(world) for _ in range(4)]
    waiting = [submit(world) for _ in range(3)]
    world.tick(2)
    world.host_of(placed[0]).fail_to_load(code, WHY)
    world.tick(5)
    for job_id in placed + waiting:
        job = world.job(job_id)
        assert (job.state, job.error_code, job.error_message) == (JobState.FAILED, code, WHY)
        assert world.messages(job_id).count(f"Fine-tuning job failed: {WHY}") == 1
    assert [len(world.attempts(job_id)) for job_id in placed + waiting] == [1] * 4 + [0] * 3
    (host,) = world.hosts()
    assert host.error_code == code


@pytest.mark.parametrize("code", [ErrorCode.BASE_UNAVAILABLE, ErrorCode.OUT_OF_MEMORY, ErrorCode.STORAGE_UNAVAILABLE])
def test_a_fault_of_the_machine_is_retried_and_marks_nothing(world: World, code: ErrorCode):
    job_id = failed_job(world, code)
    assert (world.job(job_id).state, world.job(job_id).infra_failures) == (JobState.BACKOFF, 1)
    assert marks(world) == []
    world.tick(3, seconds=5)
    assert len(world.hosts()) == 2


def test_a_job_for_a_marked_base_is_refused_with_the_reason(world: World):
    world.catalogue = make_catalogue("tiny", "other")
    failed_job(world, compute_dtype=ComputeDtype.BF16)
    with pytest.raises(InvalidRequest, match=r"Base tiny cannot be used as .* choose another base") as refused:
        try_to_post(world)
    assert (refused.value.code, refused.value.param) == ("base_unusable", "model")
    assert try_to_post(world, quantization="nf4"), "another way to hold it has not failed"
    assert try_to_post(world, model="other")


def test_a_mark_keeps_a_host_from_starting_even_for_a_plan_made_before_it(seen: World):
    late = submit(seen)
    schedule = next(step for step in seen.steps if isinstance(step, Schedule))
    with seen.db.read() as session:
        snapshot = load_snapshot(session, seen.catalogue, 600, 300, seen.now)
    start = next(action for action in plan(snapshot, seen.now) if isinstance(action, StartHost))
    assert start.for_job == late
    failed_job(seen)
    assert not schedule.applier.apply(start, seen.now)
    assert len(seen.hosts()) == 1
    seen.tick()
    assert seen.job(late).error_code == ErrorCode.BASE_UNUSABLE


def test_a_long_line_for_a_marked_base_takes_no_device_while_it_ends(db: Database, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("orchestrator.bases.end_waiting.AT_ONCE", 1)
    world = World(db, tmp_path, make_catalogue("tiny", "other"))
    failed_job(world)
    other = submit(world, base_id="other")
    world.tick(4)
    want(world, other, Desired.PAUSE)
    world.tick(3)
    idle = world.attempts(other)[-1].host_id
    waiting = [submit(world) for _ in range(3)]
    for ended in (1, 2, 3):
        world.tick(seconds=120)  # long enough to be overdue
        assert [world.job(job_id).state for job_id in waiting].count(JobState.FAILED) == ended
        assert {host.id: host.state for host in world.hosts()}[idle] == HostState.READY


def test_a_paused_job_outlasts_the_fault(seen: World):
    waiting = submit(seen)
    want(seen, waiting, Desired.PAUSE)
    failed_job(seen)
    seen.tick(2)
    assert seen.job(waiting).state == JobState.PAUSED
    assert "ends as failed" in why(seen.db, seen.job(waiting).tenant_id, waiting, seen.now).reason
    review(seen)
    (seen.base / "config.json").touch()
    assert review(seen) == {"lifted": 1}
    assert "ends as failed" not in why(seen.db, seen.job(waiting).tenant_id, waiting, seen.now).reason
    want(seen, waiting, Desired.RUN)
    seen.tick(4)
    assert seen.job(waiting).state == JobState.STARTING


def change_size(base: Path) -> None:
    with (base / "model.safetensors").open("ab") as file:
        file.write(b"\0")


@pytest.mark.parametrize(
    "change",
    [
        change_size,
        lambda base: (base / "config.json").touch(),
        lambda base: (base / "config.json").chmod(0o640),
        lambda base: (base / "added.json").write_text("{}"),
        lambda base: (base / "README.md").unlink(),
    ],
    ids=["content", "touch", "permissions", "a new file", "a file less"],
)
def test_a_mark_lasts_until_a_file_of_the_base_changes(seen: World, change):
    failed_job(seen)
    assert review(seen) == {"seen": 1}
    assert review(seen) == review(seen, UNSEEN_FOR.total_seconds()) == {}
    change(seen.base)
    assert review(seen) == {"lifted": 1}
    job_id = submit(seen)
    seen.tick(4)
    assert seen.job(job_id).state == JobState.STARTING


def test_a_file_that_was_changed_while_the_host_failed_counts_as_changed(seen: World):
    seen.now -= timedelta(days=10_000)  # the files are younger than the host
    failed_job(seen)
    assert review(seen) == {"lifted": 1}


def test_a_base_that_appears_is_no_longer_marked(db: Database, tmp_path: Path):
    world = World(db, tmp_path, with_source(tmp_path / "later", make_catalogue()))
    failed_job(world)
    assert review(world) == {"seen": 1}
    make_folder(tmp_path / "later")
    assert review(world) == {"lifted": 1}


def test_a_base_whose_files_only_hosts_see_is_tried_again_after_an_hour(world: World):
    failed_job(world)
    assert review(world) == {"seen": 1}
    assert review(world, UNSEEN_FOR.total_seconds() - 60) == {}
    assert review(world, 60) == {"lifted": 1}


def changed(base: CatalogueBase, **spec) -> CatalogueBase:
    return base.model_copy(update={"spec": base.spec.model_copy(update=spec)})


@pytest.mark.parametrize(
    "change",
    [
        lambda base: changed(base, revision="0" * 40),
        lambda base: changed(base, weight_digest="0" * 64),
        lambda base: base.model_copy(update={"target_modules": ("q_proj",)}),
    ],
    ids=["revision", "digest", "linears"],
)
def test_a_changed_entry_of_the_catalogue_is_another_base(seen: World, change):
    failed_job(seen, compute_dtype=ComputeDtype.BF16)
    review(seen)
    first, *others = seen.catalogue.bases
    seen.catalogue = seen.catalogue.model_copy(update={"bases": (change(first), *others)})
    seen.restart_orchestrator()
    job_id = submit(seen, compute_dtype=ComputeDtype.BF16)
    seen.tick(4)
    assert seen.job(job_id).state == JobState.STARTING, "at once, before anybody has lifted the mark"
    assert try_to_post(seen)
    assert marks(seen) == []


def test_a_base_that_left_the_catalogue_is_no_longer_marked(seen: World):
    failed_job(seen)
    seen.catalogue = make_catalogue("other")
    assert review(seen) == {"lifted": 1}


def test_while_another_host_holds_the_base_the_machine_is_at_fault(seen: World):
    running = submit(seen, memory_bytes=5 * 10**9)
    seen.tick(3)
    second = submit(seen, memory_bytes=5 * 10**9)
    seen.tick(2)
    host = seen.host_of(second)
    assert host is not seen.host_of(running)
    host.fail_to_load(ErrorCode.BASE_UNUSABLE, WHY)
    seen.tick()
    assert (seen.job(second).state, seen.job(second).infra_failures) == (JobState.BACKOFF, 1)
    assert marks(seen) == []


def test_a_host_that_loads_the_base_after_another_failed_lifts_the_mark(seen: World):
    seen.cluster = InProcessCluster(lambda spec: ScriptedHost(spec, loading=True))
    seen.restart_orchestrator()
    one, two = (submit(seen, memory_bytes=5 * 10**9) for _ in range(2))
    seen.tick(2)
    seen.host_of(one).fail_to_load(ErrorCode.BASE_UNUSABLE, WHY)
    seen.tick()
    assert len(marks(seen)) == 1
    seen.host_of(two).load()
    seen.tick(2)
    assert marks(seen) == []
    assert seen.job(two).state == JobState.STARTING


def test_every_quantization_is_marked_for_itself(seen: World):
    failed_job(seen)
    job_id = submit(seen, quantization=Quantization.NF4)
    seen.tick(4)
    assert seen.job(job_id).state == JobState.STARTING

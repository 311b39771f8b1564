"""The publishing loop over both databases, with a registry that a test may break."""

from pathlib import Path
from threading import Thread

import fsspec
import pytest
from sqlalchemy import select

from orchestrator.db.states import DEADLINE_S, JobState
from orchestrator.db.tables import FileRow
from orchestrator.errors import InvalidRequest
from orchestrator.lifecycle.desired import cancel
from orchestrator.registry.errors import RegistryRefused, RegistryUnavailable
from orchestrator.registry.fetch import fetch_verified
from orchestrator.registry.publish import Publish
from tests.builders.listed_registry import ListedRegistry, make_publish
from tests.builders.world import World
from tests.builders.world_jobs import running
from workers.contract.reports import AdapterManifest


@pytest.fixture
def registry() -> ListedRegistry:
    return ListedRegistry()


@pytest.fixture
def publish(world: World, registry: ListedRegistry) -> Publish:
    return make_publish(world, registry)


def trained(world: World) -> str:
    job_id = running(world)
    host = world.host_of(job_id)
    host.evaluate(job_id, 2.0)
    host.step(job_id, times=6)
    host.evaluate(job_id, 0.5)
    host.finish(job_id)
    world.tick()
    return job_id


def test_a_trained_job_is_published_and_succeeds(world: World, publish: Publish, registry: ListedRegistry):
    job_id = trained(world)
    assert publish.run_once(world.now) == {"published": 1}
    job = world.job(job_id)
    assert job.state == JobState.SUCCEEDED
    assert job.fine_tuned_model.startswith("ft:tiny:")
    assert (job.registry_name, job.registry_version) == ("tiny", "1")
    assert registry.folders == [["peft/adapter_config.json", "peft/adapter_model.safetensors"]]
    assert world.messages(job_id)[-2:] == [
        f"New fine-tuned model created: {job.fine_tuned_model}",
        "The job has successfully completed",
    ]


def test_the_result_file_is_plain_csv_with_a_line_per_step(world: World, publish: Publish):
    job_id = trained(world)
    publish.run_once(world.now)
    with world.db.read() as session:
        file = session.scalars(select(FileRow).where(FileRow.id == world.job(job_id).result_file_id)).one()
    lines = fsspec.open(file.uri, "rb").open().read().decode().splitlines()
    assert file.purpose == "fine-tune-results"
    assert lines[0] == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
    assert lines[1] == "0,,,2.0,0.5"
    assert len(lines) == 8


def test_a_registry_that_is_down_delays_and_loses_nothing(world: World, publish: Publish, registry: ListedRegistry):
    job_id = trained(world)
    registry.failures = [RegistryUnavailable(), RegistryUnavailable()]
    assert publish.run_once(world.now) == {"delayed": 1}
    assert publish.run_once(world.now) == {}
    world.tick(seconds=20)
    assert publish.run_once(world.now) == {"delayed": 1}
    world.tick(seconds=20)
    assert publish.run_once(world.now) == {"published": 1}
    assert world.job(job_id).registry_version == "1"
    assert sum("registry is not reachable" in message for message in world.messages(job_id)) == 1


def test_a_refusal_fails_the_job_with_its_reason(world: World, publish: Publish, registry: ListedRegistry):
    job_id = trained(world)
    registry.failures = [RegistryRefused("name taken")]
    publish.run_once(world.now)
    assert (world.job(job_id).state, world.job(job_id).error_code) == (JobState.FAILED, "registry_refused")


def test_an_adapter_changed_in_storage_is_never_published(world: World, publish: Publish, registry: ListedRegistry):
    job_id = trained(world)
    weights = world.folder / job_id / "a1" / "adapter" / "peft" / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    publish.run_once(world.now)
    assert world.job(job_id).error_code == "adapter_refused"
    assert registry.versions == {}


def test_a_job_is_cancelled_while_its_adapter_waits_for_the_registry_to_be_asked(
    world: World, publish: Publish, registry: ListedRegistry
):
    job_id = trained(world)
    cancel(world.db, world.job(job_id).tenant_id, job_id)
    assert publish.run_once(world.now) == {}
    world.tick()
    assert world.job(job_id).state == JobState.CANCELLED
    assert registry.versions == {}


def test_a_wish_to_cancel_that_comes_before_the_registry_is_asked_wins(
    world: World, publish: Publish, registry: ListedRegistry, monkeypatch: pytest.MonkeyPatch
):
    job_id = trained(world)

    def fetch_slowly(manifest: AdapterManifest, folder: Path) -> None:
        cancel(world.db, world.job(job_id).tenant_id, job_id)
        fetch_verified(manifest, folder)

    monkeypatch.setattr("orchestrator.registry.publish.fetch_verified", fetch_slowly)
    assert publish.run_once(world.now) == {"cancelled": 1}
    world.tick()
    assert (world.job(job_id).state, registry.versions) == (JobState.CANCELLED, {})


def test_once_the_registry_is_asked_the_job_succeeds_and_cannot_be_cancelled(
    world: World, publish: Publish, registry: ListedRegistry
):
    job_id = trained(world)
    refusals: list[str | None] = []

    def ask_too_late() -> None:
        with pytest.raises(InvalidRequest) as refused:
            cancel(world.db, world.job(job_id).tenant_id, job_id)
        refusals.append(refused.value.code)

    registry.before = ask_too_late
    assert publish.run_once(world.now) == {"published": 1}
    world.tick()
    assert refusals == ["job_publishing"]
    assert (world.job(job_id).state, list(registry.versions)) == (JobState.SUCCEEDED, [job_id])


def test_a_registry_that_failed_may_have_made_a_version_so_the_job_cannot_be_cancelled(
    world: World, publish: Publish, registry: ListedRegistry
):
    job_id = trained(world)
    registry.failures = [RegistryUnavailable()]
    publish.run_once(world.now)
    with pytest.raises(InvalidRequest, match="can no longer be cancelled"):
        cancel(world.db, world.job(job_id).tenant_id, job_id)
    world.tick(seconds=20)
    assert publish.run_once(world.now) == {"published": 1}


def test_owner_and_publisher_at_the_same_time_agree_on_every_job(
    world: World, publish: Publish, registry: ListedRegistry
):
    jobs = [trained(world) for _ in range(4)]
    refused: set[str] = set()

    def cancel_all() -> None:
        for job_id in reversed(jobs):
            try:
                cancel(world.db, world.job(job_id).tenant_id, job_id)
            except InvalidRequest:
                refused.add(job_id)

    owner = Thread(target=cancel_all)
    owner.start()
    publish.run_once(world.now)
    owner.join()
    world.tick()
    publish.run_once(world.now)
    assert set(registry.versions) == refused
    for job_id in jobs:
        assert world.job(job_id).state == (JobState.SUCCEEDED if job_id in refused else JobState.CANCELLED)


def test_an_adapter_the_registry_never_took_is_not_given_up_after_it_was_asked(
    world: World, publish: Publish, registry: ListedRegistry
):
    job_id = trained(world)
    registry.failures = [RegistryUnavailable()]
    publish.run_once(world.now)
    world.tick(seconds=DEADLINE_S[JobState.PUBLISHING] + 1)
    assert world.job(job_id).state == JobState.PUBLISHING
    assert world.messages(job_id)[-1] == "Still not published; the adapter is safe in storage"
    assert publish.run_once(world.now) == {"published": 1}


def test_an_adapter_no_registry_was_asked_for_is_given_up_at_the_deadline(world: World):
    job_id = trained(world)
    world.tick(seconds=DEADLINE_S[JobState.PUBLISHING] + 1)
    assert (world.job(job_id).state, world.job(job_id).error_code) == (JobState.FAILED, "internal_error")


def test_an_adapter_that_cannot_be_published_for_an_unknown_reason_waits_and_the_next_one_goes_on(
    world: World, publish: Publish, registry: ListedRegistry
):
    odd, sound = trained(world), trained(world)
    registry.failures = [ValueError("a bug")]
    assert publish.run_once(world.now) == {"errors": 1, "published": 1}
    assert (world.job(odd).state, world.job(sound).state) == (JobState.PUBLISHING, JobState.SUCCEEDED)
    assert publish.run_once(world.now) == {}
    world.tick(seconds=60)
    assert publish.run_once(world.now) == {"published": 1}

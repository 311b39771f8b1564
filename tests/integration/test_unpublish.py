"""A deleted model leaves storage and is marked in the registry, sooner or later, whatever is down meanwhile."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.workspace_context import ServerWorkspaceContext
from sqlalchemy import select, update

from orchestrator.artifacts.checkpoint_models import find_checkpoint
from orchestrator.artifacts.models import delete_model
from orchestrator.checkpoints.states import CheckpointState
from orchestrator.db.database import Database
from orchestrator.db.job_tables import CheckpointRow, JobRow
from orchestrator.db.states import JobState
from orchestrator.errors import NotFound, StorageDown
from orchestrator.ids import new_id
from orchestrator.registry.errors import RegistryRefused, RegistryUnavailable
from orchestrator.registry.mlflow_registry import MlflowRegistry
from orchestrator.registry.unpublish import Unpublish
from orchestrator.steps.gc import IN_A_ROW
from orchestrator.steps.step import Counts
from orchestrator.storage.objects import remove
from orchestrator.tenancy.views import Tenant
from tests.builders.live_api import make_catalogue
from tests.builders.mlflow_server import MlflowServer
from tests.builders.publications import make_manifest, make_publication, write_adapter
from tests.builders.rows import NOW, make_checkpoint, make_job, make_tenant


class Marks:
    """A registry that keeps what it was asked to mark, and fails as often as it is told to."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.marked: list[tuple[str, str, str, datetime]] = []

    def unpublish(self, tenant_slug: str, name: str, version: str, deleted_at: datetime) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.marked.append((tenant_slug, name, version, deleted_at))


class Deleted:
    """A model whose tenant has deleted it, with an adapter in storage."""

    def __init__(self, db: Database, folder: Path, steps: Sequence[int] = ()) -> None:
        tenant = make_tenant(db)
        job_id = new_id("ftjob-")
        self.folder = folder / job_id / "a1" / "adapter"
        write_adapter(self.folder)
        adapter = make_manifest(self.folder).model_dump(mode="json")
        self.slug, self.job = tenant.slug, make_job(db, JobState.SUCCEEDED, tenant, id=job_id, adapter=adapter)
        for step in steps:
            make_checkpoint(db, self.job, step)
        delete_model(db, make_catalogue(), Tenant.of(tenant), self.job.fine_tuned_model or "", NOW)

    def is_unpublished(self, db: Database) -> bool:
        with db.read() as session:
            return session.get_one(JobRow, self.job.seq).unpublished_at is not None

    @property
    def mark(self) -> tuple[str, str, str, datetime]:
        return (self.slug, self.job.registry_name or "", "1", NOW)


def test_what_was_deleted_is_removed_and_marked_once(db: Database, tmp_path: Path) -> None:
    kept = make_job(db, JobState.SUCCEEDED)
    model, registry = Deleted(db, tmp_path), Marks()

    assert Unpublish(db, registry).run_once(NOW) == Counts(unpublished=1)
    assert Unpublish(db, registry).run_once(NOW) == Counts()
    assert (registry.marked, model.folder.exists()) == ([model.mark], False)
    with db.read() as session:
        assert session.get_one(JobRow, kept.seq).unpublished_at is None


def test_the_checkpoints_of_a_deleted_model_go_with_it_and_no_others(db: Database, tmp_path: Path) -> None:
    kept = make_checkpoint(db, make_job(db, JobState.SUCCEEDED), 2)
    model = Deleted(db, tmp_path, steps=(1, 2))
    with db.read() as session:
        states = dict(session.execute(select(CheckpointRow.id, CheckpointRow.state)).all())
        for step in (1, 2):
            with pytest.raises(NotFound):
                find_checkpoint(session, f"{model.job.fine_tuned_model}:ckpt-step-{step}")
    assert states.pop(kept.id) == CheckpointState.COMMITTED
    assert list(states.values()) == [CheckpointState.DELETING] * 2


def test_a_registry_that_is_away_delays_the_mark(db: Database, tmp_path: Path) -> None:
    models = [Deleted(db, tmp_path) for _ in range(IN_A_ROW + 1)]
    registry = Marks(*(RegistryUnavailable("away") for _ in range(IN_A_ROW)))
    unpublish = Unpublish(db, registry)

    assert unpublish.run_once(NOW) == Counts(delayed=IN_A_ROW)
    assert not any(model.is_unpublished(db) for model in models)
    assert unpublish.run_once(NOW) == Counts(unpublished=1)
    assert unpublish.run_once(NOW) == Counts(unpublished=IN_A_ROW)
    assert registry.marked == [models[-1].mark, *(model.mark for model in models[:-1])]


def test_a_refusal_is_not_repeated_and_holds_up_nobody(db: Database, tmp_path: Path) -> None:
    first, second = Deleted(db, tmp_path), Deleted(db, tmp_path)
    registry = Marks(RegistryRefused("no"))

    assert Unpublish(db, registry).run_once(NOW) == Counts(unpublished=2)
    assert first.is_unpublished(db)
    assert registry.marked == [second.mark]


def test_storage_that_is_away_delays_everything(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, registry = Deleted(db, tmp_path), Marks()

    def down(uri: str) -> None:
        raise StorageDown

    with monkeypatch.context() as outage:
        outage.setattr("orchestrator.registry.unpublish.remove", down)
        assert Unpublish(db, registry).run_once(NOW) == Counts(delayed=1)
    assert (registry.marked, model.is_unpublished(db)) == ([], False)
    assert Unpublish(db, registry).run_once(NOW) == Counts(unpublished=1)


def test_an_adapter_that_cannot_be_removed_holds_up_no_other(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, other = Deleted(db, tmp_path), Deleted(db, tmp_path)

    def refuse(uri: str) -> None:
        if stuck.job.id in uri:
            raise StorageDown
        remove(uri)

    monkeypatch.setattr("orchestrator.registry.unpublish.remove", refuse)
    assert Unpublish(db, Marks()).run_once(NOW) == Counts(delayed=1, unpublished=1)
    assert (stuck.is_unpublished(db), other.is_unpublished(db)) == (False, True)


def test_an_adapter_outside_its_jobs_prefix_is_left_alone(db: Database, tmp_path: Path) -> None:
    model, victim = Deleted(db, tmp_path), tmp_path / "ftjob-of-another" / "a1" / "adapter"
    write_adapter(victim)
    with db.write() as session:
        session.get_one(JobRow, model.job.seq).adapter = {"uri": victim.as_uri()}
    assert Unpublish(db, Marks()).run_once(NOW) == Counts(unpublished=1)
    assert victim.exists()


def test_a_job_that_was_never_registered_needs_no_mark(db: Database, tmp_path: Path) -> None:
    model, registry = Deleted(db, tmp_path), Marks()
    with db.write() as session:
        session.execute(update(JobRow).where(JobRow.id == model.job.id).values(registry_version=None))
    assert Unpublish(db, registry).run_once(NOW) == Counts(unpublished=1)
    assert registry.marked == []


@pytest.mark.slow
def test_in_mlflow_the_version_stays_with_a_tag_and_without_alias_and_weights(
    mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    registry, slug = MlflowRegistry(mlflow_server.uri), "tenant-unpublish"
    publication = make_publication(tmp_path, slug)
    old = registry.publish(publication, tmp_path / "adapter")
    for _ in range(2):
        registry.unpublish(slug, old.name, old.version, NOW)
    registry.unpublish(slug, old.name, "99", NOW)
    registry.unpublish(slug, "never-published", "1", NOW)

    client = MlflowClient(mlflow_server.uri, mlflow_server.uri)
    with ServerWorkspaceContext(slug):
        version = client.get_model_version(old.name, old.version)
        with pytest.raises(MlflowException, match="not found"):
            client.get_logged_model(old.model_id)
    assert version.tags["orchard.deleted"] == NOW.isoformat()
    assert version.aliases == []

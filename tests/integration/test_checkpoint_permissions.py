"""Sharing a checkpoint: what it opens to another tenant, what it leaves closed, and how soon it ends."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import openai
import pytest
from openai import OpenAI
from openai._legacy_response import HttpxBinaryResponseContent

from orchestrator.db.database import Database
from orchestrator.db.job_tables import CheckpointRow, JobRow
from orchestrator.db.states import JobState
from tests.builders.live_api import Api, add_tenant, live_api
from tests.builders.rows import make_checkpoint, make_job
from tests.builders.stock_client import stock_client, tenant_row
from workers.contract.reports import CheckpointManifest, FileDigest

pytestmark = pytest.mark.slow
WEIGHTS = b"the tensors of the adapter"


@dataclass
class Sharing:
    """An owner with a checkpoint, and another tenant, each with a client."""

    api: Api
    owner: OpenAI
    other: OpenAI
    other_id: str
    job: JobRow
    name: str

    def share(self) -> str:
        """Let the other tenant in; the id of the permission."""
        return self.owner.fine_tuning.checkpoints.permissions.create(self.name, project_ids=[self.other_id]).data[0].id

    def models(self) -> list[str]:
        """The tuned models that the other tenant sees."""
        return [model.id for model in self.other.models.list() if model.id.startswith("ft:")]


@pytest.fixture
def sharing(db: Database, tmp_path: Path) -> Iterator[Sharing]:
    with live_api(db, tmp_path) as api:
        project, key = add_tenant(api.services, "other")
        job = make_job(db, JobState.SUCCEEDED, tenant_row(api))
        stored(db, job, tmp_path / "checkpoint", step=6)
        make_checkpoint(db, job, 3)
        with stock_client(api) as owner, stock_client(api, key) as other:
            name = owner.fine_tuning.jobs.checkpoints.list(job.id).data[1].fine_tuned_model_checkpoint
            yield Sharing(api, owner, other, project.id, job, name)


def stored(db: Database, job: JobRow, folder: Path, step: int) -> CheckpointRow:
    """A checkpoint whose files exist."""
    folder.mkdir()
    (folder / "adapter.safetensors").write_bytes(WEIGHTS)
    (folder / "optimizer.safetensors").write_bytes(b"moments")
    files = tuple(
        FileDigest(path=path.name, bytes=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.iterdir())
    )
    manifest = CheckpointManifest(
        job_id=job.id,
        attempt=1,
        lease_token="",
        uri=folder.as_uri(),
        step=step,
        epoch=1.0,
        files=files,
        base_id="tiny",
        base_digest="0" * 64,
    )
    content = manifest.model_dump_json().encode()
    (folder / "manifest.json").write_bytes(content)
    return make_checkpoint(db, job, step, uri=folder.as_uri(), manifest_sha256=hashlib.sha256(content).hexdigest())


def download(client: OpenAI, name: str) -> dict[str, bytes]:
    """The files of a model's tar, by their path below its folder."""
    raw = client.get(f"/x/models/{quote(name, safe='')}/adapter", cast_to=HttpxBinaryResponseContent)
    with tarfile.open(fileobj=io.BytesIO(raw.content)) as tar:
        return {m.name.partition("/")[2]: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]


def test_without_a_permission_a_checkpoint_does_not_exist(sharing: Sharing) -> None:
    assert sharing.models() == []
    with pytest.raises(openai.NotFoundError):
        sharing.other.models.retrieve(sharing.name)
    with pytest.raises(openai.NotFoundError):
        download(sharing.other, sharing.name)


def test_a_permission_lets_see_and_download_the_checkpoint(sharing: Sharing) -> None:
    sharing.share()

    assert sharing.models() == [sharing.name]
    found = sharing.other.models.retrieve(sharing.name)
    ours = {"kind": "checkpoint", "base": "tiny", "step": 6, "shared": True, "job": None}
    assert (found.owned_by, found.model_extra["x_orchard"]) == ("acme", ours)
    files = download(sharing.other, sharing.name)
    assert files["peft/adapter_model.safetensors"] == WEIGHTS
    config = json.loads(files["peft/adapter_config.json"])
    assert (config["peft_type"], config["r"], config["target_modules"]) == ("LORA", 4, ["q_proj", "v_proj"])
    assert files.keys() == {"peft/adapter_model.safetensors", "peft/adapter_config.json"}


def test_a_permission_opens_nothing_else(sharing: Sharing) -> None:
    sharing.share()
    other, job = sharing.other, sharing.job
    closed = (
        lambda: other.fine_tuning.jobs.retrieve(job.id),
        lambda: other.fine_tuning.jobs.list_events(job.id),
        lambda: other.fine_tuning.jobs.checkpoints.list(job.id),
        lambda: other.fine_tuning.jobs.cancel(job.id),
        lambda: other.models.retrieve(job.fine_tuned_model),
        lambda: other.models.retrieve(sharing.name.replace("step-6", "step-3")),
        lambda: other.models.delete(sharing.name),
        lambda: other.fine_tuning.checkpoints.permissions.list(sharing.name),
        lambda: other.fine_tuning.checkpoints.permissions.create(sharing.name, project_ids=[sharing.other_id]),
    )
    for call in closed:
        with pytest.raises(openai.NotFoundError):
            call()


def test_revoking_holds_from_the_next_request_on(sharing: Sharing) -> None:
    permission = sharing.share()
    assert sharing.models() == [sharing.name]

    sharing.owner.fine_tuning.checkpoints.permissions.delete(permission, fine_tuned_model_checkpoint=sharing.name)

    assert sharing.models() == []
    with pytest.raises(openai.NotFoundError):
        download(sharing.other, sharing.name)
    with pytest.raises(openai.NotFoundError):
        sharing.owner.fine_tuning.checkpoints.permissions.delete(permission, fine_tuned_model_checkpoint=sharing.name)


def test_a_checkpoint_that_is_gone_is_shared_no_more(sharing: Sharing, db: Database) -> None:
    sharing.share()
    with db.write() as session:
        for row in session.query(CheckpointRow).filter_by(job_id=sharing.job.id, step=6):
            row.state = "corrupt"
    assert sharing.models() == []


def test_letting_in_twice_is_one_permission(sharing: Sharing) -> None:
    assert sharing.share() == sharing.share()


def test_only_tenants_that_exist_are_let_in_and_the_owner_needs_no_permission(sharing: Sharing) -> None:
    for project, words in (("tenant-0", "no project 'tenant-0'"), (sharing.api.tenant.id, "owns the checkpoint")):
        with pytest.raises(openai.BadRequestError, match=words) as caught:
            sharing.owner.fine_tuning.checkpoints.permissions.create(sharing.name, project_ids=[project])
        assert caught.value.param == "project_ids"


def test_the_owner_sees_and_downloads_its_own(sharing: Sharing) -> None:
    found = sharing.owner.models.retrieve(sharing.name).model_extra["x_orchard"]
    assert (found["shared"], found["job"]) == (False, sharing.job.id)
    assert download(sharing.owner, sharing.name)["peft/adapter_model.safetensors"] == WEIGHTS


def test_a_checkpoint_is_found_by_its_name_while_the_job_still_runs(sharing: Sharing, db: Database) -> None:
    job = make_job(db, JobState.RUNNING, tenant_row(sharing.api), suffix="mine")
    make_checkpoint(db, job, 6)
    make_checkpoint(db, make_job(db, JobState.RUNNING, tenant_row(sharing.api), suffix="mine"), 6)
    name = sharing.owner.fine_tuning.jobs.checkpoints.list(job.id).data[0].fine_tuned_model_checkpoint
    assert sharing.owner.models.retrieve(name).model_extra["x_orchard"]["job"] == job.id


def test_damage_in_storage_is_told_and_nothing_is_sent(sharing: Sharing, tmp_path: Path) -> None:
    (tmp_path / "checkpoint" / "manifest.json").write_bytes(b"{}")
    with pytest.raises(openai.InternalServerError) as caught:
        download(sharing.owner.with_options(max_retries=0), sharing.name)
    assert (caught.value.status_code, caught.value.code) == (503, "checkpoint_damaged")

"""The API under attack and short of disk, in this process, over both databases."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from orchestrator.db.columns import Base
from orchestrator.db.database import Database
from orchestrator.registry.errors import AdapterRefused
from orchestrator.registry.fetch import fetch_verified
from tests.builders.live_api import Api, add_tenant, make_api, make_catalogue
from tests.builders.publications import make_manifest, write_adapter
from tests.builders.rows import make_job, make_tenant
from tests.builders.specs import sum_rows
from tests.faults.small_disk import fill, small_disk
from workers.contract.reports import FileDigest

ROWS = "".join(json.dumps(row) + "\n" for row in sum_rows(12)).encode()
JOBS = "/v1/fine_tuning/jobs"
CLIMBS = ("../../etc/passwd", "/etc/passwd", "..\\..\\boot.ini", "a/../../b", "..")


def upload(web: TestClient, name: str = "train.jsonl", content: bytes = ROWS) -> Any:
    return web.post("/v1/files", files={"file": (name, content)}, data={"purpose": "fine-tune"})


def everything_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and "sqlite" not in path.name}


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 2_048) as disk:
        yield disk


def test_f11_an_upload_onto_a_full_disk_is_refused_and_leaves_nothing(db: Database, small: Path):
    api = make_api(db, small)
    with TestClient(create_app(api.services), headers=api.headers) as web:
        assert upload(web).status_code == 200
        before = everything_below(small)
        filler = fill(small)
        refused = upload(web, content=ROWS * 100)
        assert (refused.status_code, refused.json()["error"]["code"]) == (507, "storage_full")
        assert everything_below(small) - {filler} == before
        filler.unlink()
        assert upload(web).status_code == 200


def test_f11_a_submission_onto_a_full_disk_of_the_database_is_refused_and_made_later(tmp_path: Path, small: Path):
    database = Database(f"sqlite:///{small / 'orchard.sqlite'}")
    Base.metadata.create_all(database.engine)
    api = make_api(database, tmp_path)
    with TestClient(create_app(api.services), headers=api.headers) as web:
        job = {"model": "tiny", "training_file": upload(web).json()["id"], "metadata": {"note": "x" * 500}}
        filler = fill(small)
        refused = [answer for _ in range(40) if (answer := web.post(JOBS, json=job)).status_code != 200]
        assert refused, "the disk was not full"
        assert {answer.status_code for answer in refused} <= {503, 507}
        filler.unlink()
        assert web.post(JOBS, json=job).status_code == 200
    database.dispose()


def test_f23_a_job_that_fits_no_device_is_refused_with_the_numbers(db: Database, tmp_path: Path):
    flavor = make_catalogue().flavors[0].model_copy(update={"memory_bytes": 1_000_000})
    api = make_api(db, tmp_path)
    services = replace(api.services, catalogue=api.services.catalogue.model_copy(update={"flavors": (flavor,)}))
    with TestClient(create_app(services), headers=api.headers) as web:
        refused = web.post(JOBS, json={"model": "tiny", "training_file": upload(web).json()["id"]})
        assert refused.status_code == 400, refused.text
        assert "GB" in refused.json()["error"]["message"]
        assert web.get(JOBS).json()["data"] == []


@pytest.mark.parametrize("name", CLIMBS)
def test_f32_a_file_name_cannot_climb(web: TestClient, tmp_path: Path, name: str):
    before = everything_below(tmp_path)
    answer = upload(web, name)
    if answer.status_code == 200:  # the client cut the path itself
        assert "/" not in answer.json()["filename"]
        assert all(path.name == "content" for path in everything_below(tmp_path) - before)
    else:
        assert answer.status_code == 400
        assert everything_below(tmp_path) == before


@pytest.mark.parametrize("reference", [*CLIMBS, "file:///etc/passwd", "s3://other/bucket", "file-%2e%2e"])
def test_f32_what_is_not_a_file_of_the_tenant_cannot_be_trained_on(web: TestClient, reference: str):
    answer = web.post(JOBS, json={"model": "tiny", "training_file": reference})
    assert answer.status_code in (400, 404), answer.text
    assert "root:" not in answer.text


def test_f32_files_and_jobs_of_another_tenant_are_not_there(web: TestClient, api: Api):
    _, key = add_tenant(api.services, "other", None)
    theirs = {"authorization": f"Bearer {key}"}
    file_id = web.post(
        "/v1/files", files={"file": ("a.jsonl", ROWS)}, data={"purpose": "fine-tune"}, headers=theirs
    ).json()["id"]
    job_id = make_job(api.services.db, tenant=make_tenant(api.services.db)).id
    for path in (f"/v1/files/{file_id}", f"/v1/files/{file_id}/content", f"{JOBS}/{job_id}", f"{JOBS}/{job_id}/events"):
        assert web.get(path).status_code == 404, path
    for verb in ("cancel", "pause", "resume"):
        assert web.post(f"{JOBS}/{job_id}/{verb}").status_code == 404
    assert web.delete(f"/v1/files/{file_id}").status_code == 404
    assert web.post(JOBS, json={"model": "tiny", "training_file": file_id}).status_code == 404


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/",
        "https://127.0.0.1/",
        "https://[::ffff:169.254.169.254]/",
        "file:///etc/passwd",
    ],
)
def test_f32_a_webhook_cannot_point_inwards(web: TestClient, url: str):
    body = {"name": "ci", "url": url, "event_types": ["fine_tuning.job.succeeded"]}
    assert web.post("/v1/webhook_endpoints", json=body).status_code == 400


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "peft/adapter_model.bin", "peft/weights.pkl", "run.py"])
def test_f32_an_adapter_that_names_other_paths_or_code_is_not_fetched(tmp_path: Path, path: str):
    write_adapter(tmp_path / "adapter")
    manifest = make_manifest(tmp_path / "adapter")
    evil = manifest.model_copy(update={"files": (*manifest.files, FileDigest(path=path, bytes=1, sha256="0" * 64))})
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(AdapterRefused):
        fetch_verified(evil, into)
    assert not (tmp_path / "outside").exists()


def test_f32_a_link_in_an_adapters_folder_is_not_followed(tmp_path: Path):
    write_adapter(tmp_path / "adapter")
    manifest = make_manifest(tmp_path / "adapter")
    config = tmp_path / "adapter" / "peft" / "adapter_config.json"
    elsewhere = tmp_path / "elsewhere.json"
    config.rename(elsewhere)
    config.symlink_to(elsewhere)
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(AdapterRefused, match="link"):
        fetch_verified(manifest, into)

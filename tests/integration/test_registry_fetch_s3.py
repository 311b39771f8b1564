"""Fetching an adapter from S3."""

from pathlib import Path

import fsspec
import pytest

from orchestrator.errors import StorageDown
from orchestrator.registry.errors import AdapterRefused
from orchestrator.registry.fetch import fetch_verified
from tests.builders.publications import make_manifest, write_adapter
from tests.builders.s3_server import s3_bucket  # noqa: F401  # a fixture
from workers.contract.reports import AdapterManifest

WEIGHTS = "peft/adapter_model.safetensors"


@pytest.fixture
def stored(s3_bucket: str, tmp_path: Path) -> AdapterManifest:  # noqa: F811
    write_adapter(tmp_path / "adapter")
    manifest = make_manifest(tmp_path / "adapter", uri=f"{s3_bucket}/jobs/ftjob-1/adapter")
    filesystem, root = fsspec.url_to_fs(manifest.uri)
    for file in manifest.files:
        filesystem.put_file(str(tmp_path / "adapter" / file.path), f"{root}/{file.path}")
    return manifest


def test_an_adapter_comes_whole_from_s3(stored: AdapterManifest, tmp_path: Path) -> None:
    fetch_verified(stored, tmp_path / "into")
    for file in stored.files:
        assert (tmp_path / "into" / file.path).read_bytes() == (tmp_path / "adapter" / file.path).read_bytes()


def test_an_object_that_was_overwritten_is_refused(stored: AdapterManifest, tmp_path: Path) -> None:
    with fsspec.open(f"{stored.uri}/{WEIGHTS}", "wb") as stream:
        stream.write(b"something else")
    with pytest.raises(AdapterRefused, match="not what the manifest describes"):
        fetch_verified(stored, tmp_path / "into")


def test_an_object_that_is_gone_is_refused_and_a_bucket_out_of_reach_is_tried_again(
    stored: AdapterManifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    filesystem, root = fsspec.url_to_fs(stored.uri)
    filesystem.rm_file(f"{root}/{WEIGHTS}")
    with pytest.raises(AdapterRefused, match="lacks"):
        fetch_verified(stored, tmp_path / "into")
    type(filesystem).clear_instance_cache()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StorageDown):
        fetch_verified(stored, tmp_path / "elsewhere")

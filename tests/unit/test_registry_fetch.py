"""Fetching an adapter: only what the manifest describes, and only from below its folder."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import StorageDown
from orchestrator.registry.errors import AdapterRefused
from orchestrator.registry.fetch import fetch_verified
from tests.builders.publications import make_manifest, write_adapter
from workers.contract.reports import AdapterManifest, FileDigest

WEIGHTS = "peft/adapter_model.safetensors"


def fetch_refused(manifest: AdapterManifest, into: Path) -> str:
    with pytest.raises(AdapterRefused) as caught:
        fetch_verified(manifest, into)
    assert not caught.value.retryable
    return str(caught.value)


def with_file(manifest: AdapterManifest, path: str, content: bytes = b"x") -> AdapterManifest:
    file = FileDigest(path=path, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    return manifest.model_copy(update={"files": (*manifest.files, file)})


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    folder = tmp_path / "stored"
    write_adapter(folder)
    return folder


def test_every_file_of_the_manifest_arrives_and_nothing_else(stored: Path, tmp_path: Path) -> None:
    manifest = make_manifest(stored)
    (stored / "manifest.json").write_text("{}")
    fetch_verified(manifest, tmp_path / "into")
    arrived = {
        path.relative_to(tmp_path / "into").as_posix() for path in (tmp_path / "into").rglob("*") if path.is_file()
    }
    assert arrived == {file.path for file in manifest.files}
    assert all((tmp_path / "into" / name).read_bytes() == (stored / name).read_bytes() for name in arrived)


def test_a_changed_byte_is_refused_and_not_left_behind(stored: Path, tmp_path: Path) -> None:
    manifest = make_manifest(stored)
    weights = bytearray((stored / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (stored / WEIGHTS).write_bytes(weights)
    assert WEIGHTS in fetch_refused(manifest, tmp_path / "into")
    assert not list((tmp_path / "into" / "peft").glob("adapter_model*"))


@pytest.mark.parametrize("change", [b"", b"longer than it was"], ids=["cut short", "grown"])
def test_a_file_of_another_size_is_refused(stored: Path, tmp_path: Path, change: bytes) -> None:
    manifest = make_manifest(stored)
    (stored / "components/tokenizer/tokenizer.json").write_bytes(change)
    assert "expected" in fetch_refused(manifest, tmp_path / "into")


def test_a_missing_file_is_refused(stored: Path, tmp_path: Path) -> None:
    manifest = make_manifest(stored)
    (stored / WEIGHTS).unlink()
    assert "lacks" in fetch_refused(manifest, tmp_path / "into")


@pytest.mark.parametrize(
    "path", ["../outside", "/etc/passwd", "peft/../../outside", "peft//x", "./x", "", ".", "a\\..\\b", "a\0b"]
)
def test_a_path_that_could_leave_the_folder_is_refused(stored: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "outside").write_bytes(b"x")
    fetch_refused(with_file(make_manifest(stored), path), tmp_path / "into")
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize("name", ["peft/adapter_model.bin", "peft/x.PKL", "components/tokenizer/tokenization.py"])
def test_a_file_that_runs_code_when_loaded_is_refused(stored: Path, tmp_path: Path, name: str) -> None:
    (stored / name).write_bytes(b"x")
    assert "safetensors" in fetch_refused(make_manifest(stored), tmp_path / "into")


def test_a_link_is_refused_even_if_its_target_verifies(stored: Path, tmp_path: Path) -> None:
    manifest = make_manifest(stored)
    (stored / WEIGHTS).rename(tmp_path / "elsewhere")
    (stored / WEIGHTS).symlink_to(tmp_path / "elsewhere")
    assert "link" in fetch_refused(manifest, tmp_path / "into")


def test_a_file_behind_a_linked_folder_is_refused(stored: Path, tmp_path: Path) -> None:
    manifest = make_manifest(stored)
    (stored / "peft").rename(tmp_path / "elsewhere")
    (stored / "peft").symlink_to(tmp_path / "elsewhere")
    assert "link" in fetch_refused(manifest, tmp_path / "into")


def test_a_storage_prefix_that_is_itself_a_link_is_fine(stored: Path, tmp_path: Path) -> None:
    (tmp_path / "mount").symlink_to(stored)
    manifest = make_manifest(stored, uri=(tmp_path / "mount").as_uri())
    fetch_verified(manifest, tmp_path / "into")
    assert (tmp_path / "into" / WEIGHTS).exists()


@pytest.mark.parametrize("changes", [{"adapter_sha256": "0" * 64}, {"files": ()}], ids=["other digest", "no weights"])
def test_a_manifest_at_odds_with_itself_is_refused(stored: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    assert "adapter_sha256" in fetch_refused(make_manifest(stored, **changes), tmp_path / "into")


def test_a_path_named_twice_is_refused(stored: Path, tmp_path: Path) -> None:
    manifest = make_manifest(stored)
    twice = manifest.model_copy(update={"files": (*manifest.files, manifest.files[0])})
    assert "twice" in fetch_refused(twice, tmp_path / "into")


def test_storage_that_cannot_be_read_is_worth_another_try(stored: Path, tmp_path: Path) -> None:
    manifest = make_manifest(stored, uri="no-such-scheme://bucket/adapter")
    with pytest.raises(StorageDown):
        fetch_verified(manifest, tmp_path / "into")

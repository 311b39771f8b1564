"""Storage by URI: whole folders or none, and no way out of a prefix."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from workers.contract.errors import StorageMissing, StorageUnavailable
from workers.storage import UnsafePath, child, digest_folder, fetch_file, publish_folder, read_bytes, relative_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "manifest.json").write_text("{}")
    (source / "sub" / "data.bin").write_bytes(b"\0\1")
    return source


@pytest.fixture
def memory_store() -> Iterator[str]:
    yield "memory://bucket/prefix"
    fsspec.filesystem("memory").store.clear()


@pytest.mark.parametrize("part", ["", ".", "..", "a/b", "/etc", "a\\b", "nul\0", "../up"])
def test_a_part_that_could_climb_is_refused(part: str) -> None:
    with pytest.raises(UnsafePath):
        child("file:///safe", "a1", part)


def test_a_child_lies_below_its_prefix() -> None:
    assert child("s3://bucket/jobs/j1/", "a1", "step-3") == "s3://bucket/jobs/j1/a1/step-3"


def test_a_published_local_folder_is_whole_and_leaves_no_trace_of_the_staging(tmp_path: Path, folder: Path) -> None:
    target = tmp_path / "out" / "adapter"
    publish_folder(folder, target.as_uri(), last="manifest.json")
    assert relative_files(target) == ["manifest.json", "sub/data.bin"]
    assert [path.name for path in target.parent.iterdir()] == ["adapter"]


def test_publishing_again_replaces_what_was_there(tmp_path: Path, folder: Path) -> None:
    target = tmp_path / "adapter"
    publish_folder(folder, target.as_uri())
    (folder / "sub" / "data.bin").unlink()
    (folder / "manifest.json").write_text('{"second": true}')
    publish_folder(folder, target.as_uri())
    assert relative_files(target) == ["manifest.json"]
    assert read_bytes((target / "manifest.json").as_uri()) == b'{"second": true}'


def test_an_object_store_gets_the_manifest_last(
    folder: Path, memory_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fsspec.filesystem("memory")
    order: list[str] = []
    put = type(store).put_file

    def recording(self: object, lpath: str, rpath: str, **options: object) -> None:
        order.append(rpath.rsplit("/", 1)[1])
        put(store, lpath, rpath, **options)

    monkeypatch.setattr(type(store), "put_file", recording)
    publish_folder(folder, memory_store, last="manifest.json")
    assert order == ["data.bin", "manifest.json"]
    assert read_bytes(f"{memory_store}/sub/data.bin") == b"\0\1"


def test_a_failed_upload_leaves_no_manifest(folder: Path, memory_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fsspec.filesystem("memory")

    def broken(self: object, lpath: str, rpath: str, **options: object) -> None:
        raise ConnectionResetError("gone")

    monkeypatch.setattr(type(store), "put_file", broken)
    with pytest.raises(StorageUnavailable, match="ConnectionResetError"):
        publish_folder(folder, memory_store, last="manifest.json")
    assert not store.exists("/bucket/prefix/manifest.json")


def test_what_is_missing_is_told_apart_from_what_is_out_of_reach(tmp_path: Path) -> None:
    with pytest.raises(StorageMissing, match="does not exist"):
        read_bytes((tmp_path / "none").as_uri())
    with pytest.raises(StorageUnavailable):
        fetch_file("nosuchprotocol://x", tmp_path / "y")


def test_digests_name_every_file_with_its_size(folder: Path) -> None:
    digests = {file.path: (file.bytes, file.sha256[:8]) for file in digest_folder(folder)}
    assert digests == {"manifest.json": (2, "44136fa3"), "sub/data.bin": (2, "b413f47d")}

import errno

import pytest

from api.cli.errors import CliError
from api.cli.unpack import unpack
from tests.builders.archives import archive


def chunks(data: bytes, size: int = 700):
    return (data[start : start + size] for start in range(0, len(data), size))


def test_the_files_arrive_whole_whatever_the_chunks(tmp_path):
    weights = bytes(range(256)) * 40
    files = unpack(
        chunks(archive(("ftjob-1/peft/adapter_model.safetensors", weights), ("ftjob-1/MLmodel", b"x"))),
        tmp_path / "out",
        "ftjob-1",
    )
    assert [str(path) for path in files] == ["MLmodel", "peft/adapter_model.safetensors"]
    assert (tmp_path / "out/peft/adapter_model.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    "data",
    [
        archive(("ftjob-1/good", b"1"), ("../escaped", b"2")),
        archive(("ftjob-1/good", b"1"), link=("way-out", "../../escaped")),
        archive(("ftjob-1/good", b"12345" * 500))[:900],
        b"this is no archive at all" * 60,
        archive(("other/file", b"1")),
    ],
    ids=["member outside", "link outside", "cut off", "no archive", "another job's"],
)
def test_a_bad_archive_is_refused_and_leaves_nothing_behind(tmp_path, data):
    with pytest.raises(CliError) as caught:
        unpack(chunks(data), tmp_path / "inner" / "out", "ftjob-1")
    assert caught.value.code == "bad_archive"
    assert list((tmp_path / "inner").iterdir()) == []
    assert not (tmp_path / "escaped").exists()


def test_a_folder_with_files_in_it_is_not_overwritten(tmp_path):
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(CliError) as caught:
        unpack(chunks(archive(("ftjob-1/mine", b"2"))), tmp_path, "ftjob-1")
    assert caught.value.code == "target_exists"
    assert (tmp_path / "mine").read_text() == "keep"


def test_a_full_disk_is_passed_on_and_leaves_nothing_behind(tmp_path):
    def until_full():
        yield archive(("ftjob-1/good", b"12345" * 500))[:900]
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        unpack(until_full(), tmp_path / "inner" / "out", "ftjob-1")
    assert list((tmp_path / "inner").iterdir()) == []

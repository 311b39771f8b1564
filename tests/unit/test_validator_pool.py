"""Files are checked by another process: what its end costs, whose fault it is, and what stays behind."""

import io
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow
import pytest
from fastapi.testclient import TestClient
from pyarrow import parquet

from orchestrator.db.database import Database
from orchestrator.errors import ValidationInterrupted
from orchestrator.files.queries import list_files
from orchestrator.files.upload import NewFile, UploadLimits, upload
from orchestrator.files.validator_pool import FileCheck, ValidatorPool
from orchestrator.paging import PageWindow
from tests.builders.file_forms import CONTAINERS
from tests.builders.live_api import Api
from tests.builders.rows import NOW, make_tenant

GOOD = b'{"text": "a"}\n'
NEW = NewFile(filename="t.jsonl", purpose="fine-tune")
CROWDED = b'{"messages":[' + b"1," * 4_189_999 + b"1]}\n"


class Interrupted(io.RawIOBase):
    """A long file of `GOOD` lines; after the first of them `strike` happens."""

    def __init__(self, strike: Callable[[], None]) -> None:
        self.strike = strike
        self.reads = 0

    def read(self, size: int = -1) -> bytes:
        self.reads += 1
        if self.reads == 2:
            self.strike()
        return GOOD * 10_000 if self.reads < 20 else b""


def validators() -> list[psutil.Process]:
    """Those of this process that run."""
    children = psutil.Process().children()
    return [each for each in children if each.is_running() and "orchestrator.files.validator" in each.cmdline()]


@pytest.fixture
def pool() -> Iterator[ValidatorPool]:
    pool = ValidatorPool()
    yield pool
    for process in pool._idle:
        process.end()


def check(pool: ValidatorPool, content: bytes) -> tuple[int, list[str], int]:
    """Good rows, codes of the issues, and the process that found them."""
    with pool.check() as file:
        file.feed(content)
        findings = file.finish()
        return findings.rows, [issue.code for issue in findings.issues], file.pid


def struck(pool: ValidatorPool, number: int) -> FileCheck:
    """A check whose process is sent a signal in the middle."""
    with pool.check() as file:
        file.feed(GOOD * 5)
        os.kill(file.pid, number)
        file.finish()
    return file


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "sqlite" not in path.name]


def test_files_are_checked_by_another_process_which_then_checks_the_next(pool: ValidatorPool) -> None:
    first, second = check(pool, GOOD * 3), check(pool, GOOD + b"x\n")
    assert first[:2] == (3, [])
    assert second[:2] == (1, ["invalid_json"])
    assert os.getpid() != first[2] == second[2]


def test_a_file_that_was_given_up_leaves_nothing_to_the_next(pool: ValidatorPool) -> None:
    with pool.check() as file:
        file.feed(b"x\n" * 3)  # and its end never comes
    assert not psutil.pid_exists(file.pid)
    assert check(pool, GOOD)[:2] == (1, [])


def test_a_validator_that_died_while_it_waited_costs_nothing(pool: ValidatorPool) -> None:
    pid = check(pool, GOOD)[2]
    os.kill(pid, signal.SIGKILL)
    psutil.Process(pid).wait()
    assert check(pool, GOOD)[:2] == (1, [])


def test_a_validator_has_none_of_the_apis_secrets(pool: ValidatorPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHARD_DATABASE_URL", "postgresql://user:secret@host/db")
    assert set(psutil.Process(check(pool, GOOD)[2]).environ()) - {"TMPDIR"} == {
        *("PYTHONPATH", "LC_ALL", "ARROW_DEFAULT_MEMORY_POOL", "OMP_NUM_THREADS"),
    }


def test_validators_end_with_the_pool() -> None:
    pool = ValidatorPool()
    pid = check(pool, GOOD)[2]
    del pool
    assert not psutil.pid_exists(pid)


def test_a_killed_check_can_be_repeated_and_is_not_the_files_fault(pool: ValidatorPool) -> None:
    with pytest.raises(ValidationInterrupted):
        struck(pool, signal.SIGKILL)
    assert check(pool, GOOD)[:2] == (1, [])


def test_native_code_that_finds_no_memory_is_the_files_fault(pool: ValidatorPool) -> None:
    with pool.check() as file:
        file.feed(GOOD * 5)
        os.kill(file.pid, signal.SIGABRT)
        file.feed(GOOD)
        (issue,) = file.finish().issues
    assert issue.code == "row_too_large"
    assert check(pool, GOOD)[:2] == (1, [])


def test_native_code_that_crashes_over_a_file_is_the_files_fault(pool: ValidatorPool) -> None:
    assert [issue.code for issue in struck(pool, signal.SIGSEGV).finish().issues] == ["damaged_file"]


def test_a_table_that_is_small_compressed_and_large_in_memory_is_the_files_fault(pool: ValidatorPool) -> None:
    rows = pyarrow.table({"text": pyarrow.array(["x" * 7_000_000] * 200).dictionary_encode()})
    sink = io.BytesIO()
    parquet.write_table(rows, sink)
    small = ValidatorPool(memory_bytes=500_000_000)
    assert len(sink.getvalue()) < 1_000_000
    rows_read, codes, pid = check(small, sink.getvalue())
    assert (rows_read, codes) == (0, ["row_too_large"])
    assert check(small, GOOD)[2] == pid, "the process lives on"


def test_every_container_is_read_within_the_memory_of_a_validator(pool: ValidatorPool) -> None:
    for name, (write, _) in CONTAINERS.items():
        assert check(pool, write([{"text": "a"}] * 3))[:2] == (3, []), name


def test_a_row_that_takes_too_much_memory_is_refused_with_its_line_and_the_rest_is_checked() -> None:
    pool = ValidatorPool(memory_bytes=160_000_000)
    nested = b'{"messages":[' + b"[[[[]]]]," * 900_000 + b"1]}\n"
    with pool.check() as file:
        file.feed(GOOD + nested + GOOD)
        findings = file.finish()
    assert [(issue.line, issue.code) for issue in findings.issues] == [(2, "row_too_large")]
    assert findings.rows == 2
    assert check(pool, GOOD)[2] == file.pid, "the process lives on"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_upload_whose_validator_is_killed_leaves_nothing_and_the_next_one_works(
    db: Database, tmp_path: Path, pool: ValidatorPool
) -> None:
    tenant = make_tenant(db).id
    limits = UploadLimits(tmp_path.as_uri(), 10**9, pool)

    def kill() -> None:
        (mine,) = [each for each in validators() if each.pid not in others]
        mine.kill()

    others = {each.pid for each in validators()}
    with pytest.raises(ValidationInterrupted):
        upload(db, tenant, limits, NEW, Interrupted(kill), NOW)
    assert files_below(tmp_path) == []
    assert list(list_files(db, tenant, None, PageWindow(10, None), NOW).items) == []
    assert upload(db, tenant, limits, NEW, io.BytesIO(GOOD), NOW).status == "processed"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_client_is_told_to_send_the_file_again(web: TestClient, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    finish = FileCheck.finish

    def killed(self: FileCheck) -> Any:
        os.kill(self.pid, signal.SIGKILL)
        monkeypatch.setattr(FileCheck, "finish", finish)
        return finish(self)

    monkeypatch.setattr(FileCheck, "finish", killed)
    send = {"files": {"file": ("t.jsonl", GOOD)}, "data": {"purpose": "fine-tune"}}
    answer = web.post("/v1/files", **send)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "validation_interrupted")
    assert answer.headers["x-should-retry"] == "true"
    assert web.get("/v1/files").json()["data"] == []
    assert web.post("/v1/files", **send).json()["status"] == "processed"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_four_million_complaints_never_reach_the_api(web: TestClient) -> None:
    before = psutil.Process().memory_info().rss
    peak = [before]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            peak.append(psutil.Process().memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    answer = web.post("/v1/files", files={"file": ("t.jsonl", CROWDED)}, data={"purpose": "fine-tune"}).json()
    over.set()
    watcher.join()
    assert (answer["status"], answer["x_orchard"]["issue_count"]) == ("error", 1)
    assert answer["status_details"].startswith("Invalid file format. Line 1, messages: 4,190,000 messages")
    assert max(peak) - before < 10 * len(CROWDED)


def test_findings_are_the_same_as_in_one_process(pool: ValidatorPool) -> None:
    from orchestrator.files.validate import check_file

    content = json.dumps({"messages": [{"role": "robot\ud83d"}], "é\0": 1}).encode() + b"\n\xff\n" + GOOD * 3
    with pool.check() as file:
        file.feed(content)
        assert file.finish() == check_file(io.BytesIO(content))

"""`orchard files` against scripted answers: names, exit codes, bars, broken transfers."""

import io
import json
import sys
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from api.cli import file_calls
from api.cli.client import OrchardClient
from api.cli.file_calls import FileCalls
from api.cli.main import app
from api.cli.session import Session
from api.cli.transfer import upload_file
from tests.builders.fake_api import FakeApi, error, own_settings, page
from tests.builders.file_forms import as_array


@pytest.fixture(autouse=True)
def _own_settings(tmp_path, monkeypatch):
    own_settings(tmp_path, monkeypatch, "sk-orchard-test")


@pytest.fixture
def api():
    return FakeApi()


@pytest.fixture
def orchard(api):
    def run(*args: str):
        return CliRunner().invoke(app, list(args), obj=Session(transport=api.transport))

    return run


def stored(file_id: str = "file-1", name: str = "train.jsonl", **changes):
    details = {"sha256": "0" * 64, "rows": 3, "issue_count": 0, "issues": []}
    file = {"id": file_id, "filename": name, "bytes": 9, "status": "processed", "created_at": 1_700_000_000}
    return file | {"x_orchard": details} | changes


@pytest.mark.parametrize("called", ["check.jsonl", "check", "file-2"])
def test_a_file_is_deleted_by_its_name_the_beginning_of_it_or_its_id(orchard, api, called):
    api.routes = {
        "GET /v1/files": page(stored(), stored("file-2", "check.jsonl")),
        "DELETE /v1/files/file-2": {"deleted": True},
    }
    result = orchard("files", "delete", called)
    assert result.exit_code == 0, result.stderr
    assert "file-2 is deleted" in result.stderr


def test_a_whole_name_wins_over_a_longer_one_that_begins_so(orchard, api):
    api.routes = {
        "GET /v1/files": page(stored("file-2", "a.jsonl.old"), stored("file-1", "a.jsonl")),
        "DELETE /v1/files/file-1": {"deleted": True},
    }
    assert orchard("files", "delete", "a.jsonl").exit_code == 0


def test_a_name_that_two_files_have_deletes_neither(orchard, api):
    api.routes = {"GET /v1/files": page(stored("file-1"), stored("file-2"))}
    result = orchard("files", "delete", "train.jsonl")
    assert result.exit_code == 2
    assert "train.jsonl (file-1), train.jsonl (file-2)" in result.stderr
    assert [request.method for request in api.requests] == ["GET"]


def test_a_name_that_no_file_has_says_where_to_look(orchard, api):
    api.routes = {"GET /v1/files": page(stored())}
    result = orchard("files", "issues", "other")
    assert result.exit_code == 1
    assert "Try: orchard files list" in result.stderr


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (error(401, "invalid_api_key", "no"), 4),
        (error(429, "insufficient_quota", "too many"), 5),
        (error(413, "file_too_large", "at most 10 bytes"), 1),
    ],
)
def test_refusals_end_with_the_codes_of_other_commands(orchard, api, tmp_path, answer, code):
    (tmp_path / "train.jsonl").write_text("{}\n")
    api.routes = {"POST /v1/files": answer}
    assert orchard("files", "upload", "train.jsonl").exit_code == code


def test_a_path_that_is_no_file_is_a_usage_error_and_nothing_is_sent(orchard, api, tmp_path):
    assert orchard("files", "upload", "gone.jsonl").exit_code == 2
    assert orchard("files", "upload", str(tmp_path)).exit_code == 2
    assert api.requests == []


def report(*numbers: int, total: int, has_more: bool = False, stored: int | None = None):
    issues = [{"id": f"issue-{n}", "line": n, "field": None, "code": "invalid_json", "message": "no"} for n in numbers]
    found = total if stored is None else stored
    counts = {"issue_count": total, "stored_count": found, "codes": {"invalid_json": found} if found else {}}
    return page(*issues, has_more=has_more) | counts


def test_a_file_that_is_bad_throughout_shows_its_first_problems_and_how_to_see_all(orchard, api, tmp_path):
    (tmp_path / "train.jsonl").write_text("{\n" * 300)
    first = report(*range(1, 101), total=300)["data"]
    bad = {"status": "error", "status_details": "no", "x_orchard": {"issues": first, "issue_count": 300}}
    api.routes = {"POST /v1/files": stored(**bad)}
    result = orchard("files", "upload", "train.jsonl")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[:20] == [f"Line {n}: no [invalid_json]" for n in range(1, 21)]
    assert lines[20] == "… and 280 more problem(s). To see all: orchard files issues file-1"
    assert lines[21].startswith("Error (invalid_file): train.jsonl has bad lines")


@pytest.mark.parametrize(
    ("command", "path", "again"),
    [
        (("files", "issues", "file-1"), "/v1/files/file-1/x/issues", "orchard files issues file-1 report.jsonl"),
        (("issues", "ftjob-1"), "/v1/fine_tuning/jobs/ftjob-1/x/issues", "orchard issues ftjob-1 report.jsonl"),
    ],
)
def test_problems_are_listed_page_by_page_up_to_the_limit_with_the_totals_of_all(orchard, api, command, path, again):
    api.routes = {f"GET {path}": [report(1, 2, total=9, has_more=True), report(3, 4, total=9, has_more=True)]}
    result = orchard(*command, "--limit", "3")
    assert result.exit_code == 0, result.stderr
    assert [line.split()[-2] for line in result.stdout.splitlines()[1:]] == ["invalid_json"] * 3
    assert result.stderr.splitlines() == [
        "9 problem(s): 9 invalid_json",
        f"Shown are the first 3. For all: {again}",
    ]
    assert [dict(request.url.params) for request in api.requests] == [
        {"limit": "3"},
        {"limit": "1", "after": "issue-2"},
    ]


def test_problems_as_json_are_objects_and_nothing_else(orchard, api):
    api.routes = {"GET /v1/files/file-1/x/issues": report(1, 2, total=2)}
    result = orchard("files", "issues", "file-1", "-o", "json")
    assert [issue["line"] for issue in json.loads(result.stdout)] == [1, 2]
    assert result.stderr == ""


def test_a_job_whose_file_is_deleted_says_that_its_report_went_too(orchard, api):
    api.routes = {"GET /v1/fine_tuning/jobs/ftjob-1/x/issues": report(total=9, stored=0)}
    result = orchard("issues", "ftjob-1")
    assert result.stderr.splitlines() == ["9 problem(s)", "Their file is deleted, and the report with it."]


def test_a_whole_report_is_saved_and_never_over_another_file(orchard, api, tmp_path: Path):
    api.routes = {"GET /v1/files/file-1/x/issues": lambda _: content(b'{"line": 1}\n')}
    result = orchard("files", "issues", "file-1", "report.jsonl", "-o", "json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == {"id": "file-1", "path": "report.jsonl", "bytes": 12}
    assert api.requests[-1].url.params["format"] == "jsonl"
    assert (tmp_path / "report.jsonl").read_bytes() == b'{"line": 1}\n'
    assert orchard("files", "issues", "file-1", "report.jsonl").exit_code == 2


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(file_calls, "WHOLE_BYTES", 10)
    monkeypatch.setattr(file_calls, "PART_BYTES", 4)


def numbered_parts():
    numbers = iter(range(1, 100))
    return lambda _: httpx2.Response(200, json={"id": f"part_{next(numbers)}"})


@pytest.mark.usefixtures("small_parts")
def test_a_part_that_the_network_broke_is_sent_again_and_named_once(orchard, api, tmp_path):
    (tmp_path / "train.jsonl").write_bytes(b'{"a": 1234567}\n')
    parts = numbered_parts()
    broken = [parts, httpx2.Response(502), parts]
    api.routes = {
        "POST /v1/uploads": {"id": "upload_1"},
        "POST /v1/uploads/upload_1/parts": broken,
        "POST /v1/uploads/upload_1/complete": {"id": "upload_1", "file": stored()},
    }
    result = orchard("files", "upload", "train.jsonl", "-o", "json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["id"] == "file-1"
    assert api.sent("POST /v1/uploads") == [
        {"filename": "train.jsonl", "bytes": 15, "mime_type": "application/octet-stream", "purpose": "fine-tune"}
    ]
    assert api.sent("POST /v1/uploads/upload_1/complete") == [{"part_ids": [f"part_{n}" for n in range(1, 5)]}]


@pytest.mark.usefixtures("small_parts")
def test_an_upload_that_cannot_go_on_is_cancelled(orchard, api, tmp_path):
    (tmp_path / "train.jsonl").write_bytes(b"x" * 15)
    api.routes = {
        "POST /v1/uploads": {"id": "upload_1"},
        "POST /v1/uploads/upload_1/parts": error(507, "storage_full", "no room"),
        "POST /v1/uploads/upload_1/cancel": {"id": "upload_1"},
    }
    result = orchard("files", "upload", "train.jsonl")
    assert result.exit_code == 1
    assert "no room" in result.stderr
    assert api.requests[-1].url.path.endswith("/cancel")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_shows_on_a_terminal_and_never_in_a_pipe(api, tmp_path, monkeypatch, terminal):
    (tmp_path / "train.jsonl").write_text("{}\n" * 1000)
    monkeypatch.setenv("TERM", "xterm")
    error_output = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", error_output)
    api.routes = {"POST /v1/files": stored()}
    with OrchardClient("http://test", "sk-orchard-test", api.transport) as client:
        assert upload_file(FileCalls(client), tmp_path / "train.jsonl").id == "file-1"
    shown = error_output.getvalue()
    assert ("train.jsonl" in shown, "3.0/3.0 kB" in shown) == (terminal, terminal)


def content(text: bytes) -> httpx2.Response:
    return httpx2.Response(200, content=text)


def test_a_download_never_overwrites_and_leaves_its_folder_only_when_told(orchard, api, tmp_path: Path):
    api.routes = {
        "GET /v1/files/file-1": stored(name="../../train.jsonl"),
        "GET /v1/files/file-1/content": content(b'{"a": 1}\n'),
    }
    assert orchard("files", "download", "file-1").exit_code == 0
    assert (tmp_path / "train.jsonl").read_bytes() == b'{"a": 1}\n'
    again = orchard("files", "download", "file-1")
    assert again.exit_code == 2
    assert "exists" in again.stderr
    assert orchard("files", "download", "file-1", "copy.jsonl").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.jsonl", "train.jsonl"]


def test_a_download_that_breaks_leaves_nothing_behind(orchard, api, tmp_path):
    def broken():
        yield b"{"
        raise httpx2.ReadError("cut")

    api.routes = {
        "GET /v1/files/file-1": stored(),
        "GET /v1/files/file-1/content": httpx2.Response(200, content=broken()),
    }
    assert orchard("files", "download", "file-1").exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_an_upload_may_name_its_format_and_says_what_was_assumed(orchard, api, tmp_path):
    (tmp_path / "train.jsonl").write_bytes(b'{"instruction": "i", "output": "o"}\n')
    file = stored()
    file["x_orchard"]["notes"] = [{"code": "converted", "message": "rows are read as chats", "line": 1, "rows": 1}]
    api.routes = {"POST /v1/files": file}
    result = orchard("files", "upload", "train.jsonl", "--format", "alpaca")
    assert result.exit_code == 0, result.stderr
    assert b'name="format"\r\n\r\nalpaca\r\n' in api.requests[0].content
    assert "note: rows are read as chats" in result.stderr


def test_a_file_is_shown_with_its_notes(orchard, api):
    file = stored()
    file["x_orchard"]["notes"] = [{"code": "container", "message": "the file is CSV", "line": 1, "rows": 1}]
    api.routes = {"GET /v1/files/file-1": file}
    result = orchard("files", "show", "file-1", "-o", "json")
    assert json.loads(result.stdout)["x_orchard"]["notes"][0]["message"] == "the file is CSV"


def test_a_file_is_converted_offline_as_its_upload_would_be(orchard, api, tmp_path):
    rows = [{"instruction": f"i{n}", "input": "", "output": "ö", "source": 1} for n in range(3)]
    (tmp_path / "alpaca.json").write_bytes(as_array(rows))
    result = orchard("files", "convert", "alpaca.json", "-o", "out.jsonl")
    assert result.exit_code == 0, result.stderr
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["messages"][0] for row in written] == [{"role": "user", "content": f"i{n}"} for n in range(3)]
    assert written[0]["messages"][1] == {"role": "assistant", "content": "ö"}
    assert "note: the key source means nothing here and is ignored" in result.stderr
    assert "3 rows in out.jsonl" in result.stderr


def test_a_conversion_names_every_bad_row_and_writes_nothing(orchard, tmp_path):
    (tmp_path / "rows.csv").write_bytes(b"question,answer\na,b\nc,\n")
    result = orchard("files", "convert", "rows.csv", "-o", "out.jsonl")
    assert result.exit_code == 1
    assert "Row 2, answer: String should have at least 1 character [string_too_short]" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if "out" in path.name) == []


def test_a_conversion_asks_for_the_format_of_what_fits_two(orchard, tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(b'{"instruction": "i", "output": "o", "text": "t"}\n')
    result = orchard("files", "convert", "rows.jsonl", "-o", "out.jsonl")
    assert (result.exit_code, "ambiguous_format" in result.stderr) == (1, True)
    assert orchard("files", "convert", "rows.jsonl", "-o", "out.jsonl", "--format", "text").exit_code == 0
    assert (tmp_path / "out.jsonl").read_bytes() == b'{"text":"t"}\n'
    refused = orchard("files", "convert", "rows.jsonl", "-o", "new.jsonl", "--format", "xml")
    assert (refused.exit_code, "there is no format xml" in refused.stderr) == (2, True)

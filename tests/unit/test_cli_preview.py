"""`orchard preview`: what it sends, how it waits, and how it ends."""

import json

import pytest
from typer.testing import CliRunner

from api.cli.main import app
from api.cli.session import Session
from tests.builders.fake_api import FakeApi, own_settings
from tests.unit.test_cli_preview_page import VIEW

PREVIEW = "POST /v1/fine_tuning/x/preview"
RUNNING = VIEW.model_copy(update={"status": "running", "rows_read": 70, "training": None}).model_dump(mode="json")
GOOD = VIEW.training.model_copy(update={"issues": (), "issue_count": 0}) if VIEW.training else None
DONE = VIEW.model_copy(update={"training": GOOD}).model_dump(mode="json")


@pytest.fixture
def api(tmp_path, monkeypatch):
    own_settings(tmp_path, monkeypatch, "sk-secret-of-acme")
    (tmp_path / "train.jsonl").write_text("{}\n")
    uploaded = {"id": "file-1", "filename": "train.jsonl", "bytes": 3, "status": "processed", "status_details": None}
    return FakeApi(**{"POST /v1/files": uploaded, "DELETE /v1/files/file-1": {"id": "file-1", "deleted": True}})


def run(api, *arguments: str):
    return CliRunner().invoke(app, ["preview", *arguments], obj=Session(transport=api.transport))


def test_it_asks_until_all_rows_are_tokens_and_leaves_no_file_behind(api) -> None:
    api.routes[PREVIEW] = [RUNNING, DONE]
    result = run(api, "train.jsonl", "--base", "tiny", "-n", "2", "--set", "data.max_seq_len=64")
    assert result.exit_code == 0, result.output
    first, second = api.sent(PREVIEW)
    assert first == second
    assert (first["model"], first["training_file"], first["rows"]) == ("tiny", "file-1", 2)
    assert first["x_orchard"]["data"]["max_seq_len"] == 64
    assert "70 rows are tokens so far" in result.stderr
    assert "⟦yes⟧" in result.stdout
    assert (api.requests[-1].method, api.requests[-1].url.path) == ("DELETE", "/v1/files/file-1")


def test_rows_that_cannot_be_used_are_shown_and_are_its_exit_code(api) -> None:
    api.routes[PREVIEW] = VIEW.model_dump(mode="json")
    result = run(api, "train.jsonl", "--base", "tiny")
    assert result.exit_code == 1
    assert "line 7, messages.1: the call" in result.stdout
    assert "3 row(s) cannot be used" in result.stderr


def test_programs_get_the_answer_as_it_is(api) -> None:
    api.routes[PREVIEW] = DONE
    result = run(api, "train.jsonl", "--base", "tiny", "-o", "json")
    assert json.loads(result.stdout) == DONE


@pytest.mark.parametrize(("name", "begins"), [("page.svg", "<svg"), ("page.html", "<!DOCTYPE html>")])
def test_the_page_is_saved_as_a_picture(api, tmp_path, name: str, begins: str) -> None:
    api.routes[PREVIEW] = DONE
    assert run(api, "train.jsonl", "--base", "tiny", "--save", name).exit_code == 0
    saved = (tmp_path / name).read_text()
    assert saved.startswith(begins)
    assert "yes" in saved
    assert "url(http" not in saved, "it loads nothing"


def test_another_kind_of_picture_is_refused_before_anything_is_sent(api) -> None:
    result = run(api, "train.jsonl", "--base", "tiny", "--save", "page.png")
    assert (result.exit_code, api.requests) == (2, [])
    assert "--save preview.svg" in result.stderr

"""What is told of bad rows when files become tokens: of either file alike, and never more than a bound."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.services import utc_now
from orchestrator.catalogue.entries import Catalogue
from orchestrator.cluster.inprocess import InProcessCluster
from orchestrator.db.database import Database
from orchestrator.encodings.keys import order_of
from orchestrator.loops.composition import encoding
from orchestrator.settings import Settings
from orchestrator.submission.validate import Validate
from tests.builders.encoded import encode_to_store, encode_training
from tests.builders.live_api import make_api, make_catalogue
from tests.builders.scripted_host import ScriptedHost
from tests.builders.specs import chat_row, make_dataset, make_job_spec, sum_rows
from tests.builders.tiny_base import make_tokenizer
from tests.builders.waiting import wait_until
from workers.contract.base import BaseSpec
from workers.contract.encoding import EncodeLimits, EncodeResult
from workers.contract.errors import DataError
from workers.contract.issues import MAX_FIELD_CHARS, MAX_ISSUES, MAX_MESSAGE_CHARS
from workers.contract.rows import DatasetFormat, Row, RowIssue
from workers.contract.spec import DataSpec
from workers.data.reading import summary
from workers.data.text_encoder import TextEncoder
from workers.data.tokens import Tokens, UnusableRow
from workers.encoding.encoder import WatchedEncoder
from workers.encoding.process import failure

TEXT = DatasetFormat.TEXT
JOBS = "/v1/fine_tuning/jobs"


def muted(question: str) -> dict[str, Any]:
    """A row whose answer lies beyond the tokens that are kept."""
    return chat_row(question * 200, "no")


BAD: dict[str, list[dict[str, Any]]] = {
    "too long": [chat_row("a", "b" * 300), chat_row("c", "d"), muted("e")],
    "not of the format": [chat_row("a", "b"), {"text": "t"}, {"messages": []}, {"messages": [{"role": "robot"}]}],
    "nothing to learn": [{"messages": [{"role": "assistant", "content": "x", "weight": 0}]}],
}


@pytest.mark.parametrize("rows", BAD.values(), ids=BAD)
def test_an_encoder_refuses_bad_rows_whatever_the_job_uses_the_file_for(
    tmp_path: Path, tiny_base: BaseSpec, rows: list[dict[str, Any]]
) -> None:
    good, bad = make_dataset(tmp_path / "good.jsonl"), make_dataset(tmp_path / "bad.jsonl", rows)
    found = []
    for training, validation in ((bad, good), (good, bad)):
        with pytest.raises(DataError) as caught:
            encode_to_store(
                make_job_spec(tmp_path, tiny_base, training=training, validation=validation, max_seq_len=64)
            )
        found.append((caught.value.issues, str(caught.value)))
    assert found[0] == found[1]
    assert found[0][0]


def test_a_row_that_only_the_encoder_finds_bad_is_in_the_report_of_the_job_before_it_has_a_seat(
    tmp_path: Path, tiny_base: BaseSpec, sqlite_db: Database
) -> None:
    api = make_api(sqlite_db, tmp_path, catalogue=catalogue_of(tiny_base))
    rows = sum_rows(12, start=900)
    rows[2] = chat_row("a", "b" * 300)
    with TestClient(create_app(api.services), headers=api.headers) as web, closing(WatchedEncoder()) as encoder:
        training, validation = (sent(web, each) for each in (sum_rows(12), rows))
        body = {"model": "tiny", "training_file": training, "validation_file": validation}
        body |= {"x_orchard": {"data": {"max_seq_len": 128}}}
        answer = web.post(JOBS, json=body)
        job_id, path = answer.json()["id"], f"{JOBS}/{answer.json()['id']}/x/issues"
        cluster = InProcessCluster(ScriptedHost, make_encoder=lambda: encoder)
        settings = Settings(
            database_url="sqlite://", storage_uri=api.services.storage_uri, catalogue=tmp_path, cache_dir=tmp_path
        )
        steps = Validate(sqlite_db, settings.storage_uri), *encoding(sqlite_db, cluster, settings).steps

        def over() -> bool:
            for step in steps:
                step.run_once(utc_now())
            return bool(web.get(f"{JOBS}/{job_id}").json()["status"] == "failed")

        wait_until(over, "the end of the job", 60, pause_s=0.02)
        job, (issue,) = web.get(f"{JOBS}/{job_id}").json(), web.get(path).json()["data"]
    assert job["error"]["code"] == "invalid_validation_file"
    assert job["error"]["message"].startswith(f"file {validation}: 1 row(s) cannot be used: line 3; row has ")
    assert job["error"]["message"].endswith(f". The 1 problem is in GET {path} (orchard issues {job_id}).")
    assert (issue["line"], issue["code"], issue["file"], issue["file_id"]) == (3, "too_long", "validation", validation)


def catalogue_of(base: BaseSpec) -> Catalogue:
    """Every entry has the files of this base."""
    catalogue = make_catalogue()
    entries = [
        entry.model_copy(update={"spec": base.model_copy(update={"id": entry.spec.id})}) for entry in catalogue.bases
    ]
    return catalogue.model_copy(update={"bases": tuple(entries)})


def sent(web: TestClient, rows: list[dict[str, Any]]) -> str:
    """The id of a file that its upload found good."""
    content = "".join(json.dumps(row) + "\n" for row in rows)
    answer = web.post("/v1/files", files={"file": ("rows.jsonl", content)}, data={"purpose": "fine-tune"})
    assert answer.json()["status"] == "processed"
    return str(answer.json()["id"])


def test_encoding_stops_where_a_file_has_too_many_bad_rows_and_says_where(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "rows.jsonl", [{"text": "t"}] * (MAX_ISSUES + 50), TEXT)
    encoded: list[Row] = []

    def refuse(row: Row) -> Tokens:
        encoded.append(row)
        raise UnusableRow("no")

    with pytest.raises(DataError) as caught:
        encode_training(refuse, DataSpec(training=data))
    issues = caught.value.issues
    assert (len(encoded), len(issues)) == (MAX_ISSUES, MAX_ISSUES)
    assert [issue.line for issue in issues[:-1]] == list(range(1, MAX_ISSUES))
    assert (issues[-1].line, issues[-1].code) == (MAX_ISSUES + 1, "checking_stopped")


def test_reading_stops_where_a_file_has_too_many_bad_lines_and_says_where(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "rows.jsonl", [{"text": 1}] * (MAX_ISSUES + 50), TEXT)
    with pytest.raises(DataError) as caught:
        encode_training(TextEncoder(make_tokenizer(), None), DataSpec(training=data))
    issues = caught.value.issues
    assert len(issues) == MAX_ISSUES
    assert (issues[-1].line, issues[-1].code) == (MAX_ISSUES + 1, "checking_stopped")


def test_as_many_problems_as_there_are_bad_rows_bring_no_notice_that_checking_stopped(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "rows.jsonl", [{"text": 1}] * MAX_ISSUES, TEXT)
    with pytest.raises(DataError) as caught:
        encode_training(TextEncoder(make_tokenizer(), None), DataSpec(training=data))
    assert {issue.code for issue in caught.value.issues} == {"string_type"}
    assert len(caught.value.issues) == MAX_ISSUES


def test_what_an_encoder_tells_of_a_file_is_bounded_and_storable(tmp_path: Path, tiny_base: BaseSpec) -> None:
    spec = make_job_spec(tmp_path, tiny_base)
    order = order_of(spec, spec.data.training, "key", 1, tmp_path.as_uri(), str(tmp_path), EncodeLimits())
    long = RowIssue(line=1, field="f\0" * 500, code="c", message="m\ud800" * 5_000)
    result = failure(order, DataError(summary(spec.data.training, [long]), [long] * (MAX_ISSUES + 5)))
    assert len(result.issues) == MAX_ISSUES
    field, message = str(result.issues[0].field), result.issues[0].message
    assert (len(field), len(message)) == (MAX_FIELD_CHARS, MAX_MESSAGE_CHARS)
    assert (field[:4], message[:4]) == ("f�f�", "m�m�")
    assert str(result.message).endswith(message)
    assert EncodeResult.model_validate_json(result.model_dump_json()) == result

"""`POST /v1/fine_tuning/x/preview`: what a job trains on, shown by the rows that it would get."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from api.app import create_app
from orchestrator.catalogue.entries import CatalogueBase
from orchestrator.cluster.inprocess import InProcessCluster
from orchestrator.db.database import Database
from orchestrator.db.encoding_tables import EncodingRow, EncodingState, PreviewRow
from orchestrator.db.states import JobState
from orchestrator.encodings.gc import EncodingGc
from orchestrator.encodings.keys import encoded_uri
from orchestrator.loops.composition import encoding
from orchestrator.settings import Settings
from orchestrator.submission.preview import LOOKED_AT, MAX_LOOKED_AT
from orchestrator.submission.validate import Validate
from tests.builders.direct_encoder import DirectEncoder
from tests.builders.live_api import Api, add_tenant, make_api, make_catalogue
from tests.builders.rows import NOW
from tests.builders.scripted_encoder import ScriptedEncoder
from tests.builders.specs import chat_row, sum_rows
from tests.builders.tiny_base import make_tokenizer
from workers.contract.base import BaseSpec, Quantization
from workers.contract.encoded import EncodedRef
from workers.contract.errors import ErrorCode
from workers.contract.rows import RowIssue
from workers.data.stored import fetch

PREVIEW = "/v1/fine_tuning/x/preview"


@dataclass
class Desk:
    """A tenant's client, and the loop that encodes."""

    api: Api
    web: TestClient
    encoder: DirectEncoder | ScriptedEncoder
    steps: tuple[Any, ...]
    now: datetime = NOW

    def tick(self, seconds: float = 1) -> None:
        self.now += timedelta(seconds=seconds)
        for step in self.steps:
            step.run_once(self.now)

    def upload(self, rows: list[dict[str, Any]] | bytes, key: str | None = None, **fields: str) -> str:
        content = rows if isinstance(rows, bytes) else "".join(json.dumps(row) + "\n" for row in rows).encode()
        headers = {"authorization": f"Bearer {key}"} if key else {}
        files, data = {"file": ("rows.jsonl", content)}, {"purpose": "fine-tune"} | fields
        made = self.web.post("/v1/files", files=files, data=data, headers=headers)
        assert made.status_code == 200, made.text
        return str(made.json()["id"])

    def ask(self, training: str, status: int = 200, **body: Any) -> dict[str, Any]:
        answer = self.web.post(PREVIEW, json={"model": "tiny", "training_file": training} | body)
        assert answer.status_code == status, answer.text
        return dict(answer.json())

    def shown(self, training: str, **body: Any) -> dict[str, Any]:
        """The preview once it is done."""
        self.ask(training, **body)
        self.tick()
        view = self.ask(training, **body)
        assert view["status"] == "done"
        return view


def desk_of(db: Database, folder: Path, base: BaseSpec, encoder: DirectEncoder | ScriptedEncoder) -> Desk:
    entry = CatalogueBase(spec=base, license="MIT", quantizations=(Quantization.NONE,), max_seq_len=256)
    desk = Desk(make_api(db, folder), None, encoder, ())  # type: ignore[arg-type]  # set below
    catalogue = make_catalogue(bases=(entry, *make_catalogue().bases[1:]))
    services = replace(desk.api.services, catalogue=catalogue, preview_wait_s=0, clock=lambda: desk.now)
    desk.api = replace(desk.api, services=services)
    settings = Settings(
        database_url="sqlite://", storage_uri=services.storage_uri, catalogue=folder, cache_dir=folder / "cache"
    )
    cluster = InProcessCluster(lambda spec: None, make_encoder=lambda: encoder)  # type: ignore[arg-type,return-value]
    desk.steps = (Validate(db, services.storage_uri), *encoding(db, cluster, settings).steps)
    desk.web = TestClient(create_app(services), headers=desk.api.headers)
    return desk


@pytest.fixture
def desk(db: Database, tmp_path: Path, tiny_base: BaseSpec) -> Iterator[Desk]:
    desk = desk_of(db, tmp_path, tiny_base, DirectEncoder())
    with desk.web:
        yield desk


@pytest.fixture
def slow_desk(db: Database, tmp_path: Path, tiny_base: BaseSpec) -> Iterator[Desk]:
    """Its encoder is at work until a test says otherwise."""
    desk = desk_of(db, tmp_path, tiny_base, ScriptedEncoder(prompt=False))
    with desk.web:
        yield desk


def encodings(desk: Desk) -> list[EncodingRow]:
    with desk.api.services.db.read() as session:
        return list(session.scalars(select(EncodingRow).order_by(EncodingRow.created_at)))


def test_rows_are_shown_as_tokens_with_their_weights_and_a_job_then_has_them_at_once(desk: Desk) -> None:
    rows = [chat_row("hi?", "yes — 日本"), *sum_rows(11)]
    file = desk.upload(rows)
    assert desk.ask(file, rows=2)["status"] == "running"
    desk.tick()
    view = desk.ask(file, rows=2)
    assert (view["object"], view["status"], view["model"]) == ("fine_tuning.preview", "done", "tiny")
    first, second = view["training"]["rows"]
    tokenizer = make_tokenizer()
    assert [token for run in first["runs"] for token in run["ids"]] == tokenizer.apply_chat_template(
        rows[0]["messages"], return_dict=False
    )
    text = tokenizer.apply_chat_template(rows[0]["messages"], tokenize=False)
    assert "".join(run["text"] for run in first["runs"]) == text
    assert "".join(run["text"] for run in first["runs"] if run["weight"] == 1) == text.partition("assistant\n")[2]
    assert {run["weight"] for run in first["runs"]} == {0, 1}
    assert (first["line"], second["line"], first["converted"], first["dropped"]) == (1, 2, None, [])
    assert view["training"]["issue_count"] == 0
    (encoded,) = encodings(desk)
    summary, stored = view["training"]["summary"], encoded.encoded or {}
    assert (summary["rows"], summary["tokens"], summary["trained_tokens"]) == (
        12,
        stored["tokens"],
        stored["trained_tokens"],
    )
    made = desk.web.post("/v1/fine_tuning/jobs", json={"model": "tiny", "training_file": file}).json()
    desk.tick()
    shown = desk.web.get(f"/v1/fine_tuning/jobs/{made['id']}").json()
    assert shown["x_orchard"]["state"] == JobState.QUEUED
    assert len(desk.encoder.seen) == 1, "one encoding serves both"


def test_what_was_converted_truncated_and_shared_is_said(desk: Desk) -> None:
    long = {"instruction": "say it", "output": "it " * 60}
    training = desk.upload([long, long, {"instruction": "add", "input": "1 2", "output": "3"}])
    validation = desk.upload([{"instruction": "add", "input": "1 2", "output": "3"}])
    options = {"validation_file": validation, "x_orchard": {"data": {"max_seq_len": 64, "overlength": "truncate"}}}
    view = desk.shown(training, **options)
    first = view["training"]["rows"][0]
    assert json.loads(first["converted"])["messages"][0]["content"] == "say it"
    assert (first["truncated_to"], first["shown_tokens"]) == (64, 64)
    assert first["tokens"] > 64
    summary = view["training"]["summary"]
    assert (summary["truncated"], summary["duplicates"], summary["lengths"]["max"]) == (2, 1, 64)
    assert view["shared_rows"] == 1
    assert view["validation"]["summary"]["rows"] == 1


def test_what_is_shown_is_what_a_host_fetches_to_train_on(desk: Desk) -> None:
    rows = [chat_row("hi?", "yes — 日本 " * 20), *sum_rows(3)]
    rows[0]["messages"] += [{"role": "user", "content": "?"}, {"role": "assistant", "content": "no", "weight": 0.3}]
    rows[1]["messages"][-1]["weight"] = 0.3
    options = {"x_orchard": {"data": {"max_seq_len": 40, "overlength": "truncate"}}}
    shown = desk.shown(desk.upload(rows), rows=4, **options)["training"]["rows"]
    (row,) = encodings(desk)
    stored = fetch(EncodedRef.model_validate(row.encoded)).rows
    assert len(shown) == len(stored) == 4
    for view, trained in zip(shown, stored, strict=True):
        assert [token for run in view["runs"] for token in run["ids"]] == list(trained.input_ids)
        weights = [run["weight"] for run in view["runs"] for _ in run["ids"]]
        assert weights[1:] == pytest.approx(list(trained.loss_weights)[1:], rel=1e-6)
        assert (weights[0], view["trained_tokens"]) == (0, trained.supervised)
    assert 0.3 in [run["weight"] for run in shown[1]["runs"]]
    assert shown[0]["truncated_to"] == 40


def test_a_bad_row_is_named_beside_the_good_ones_and_asking_again_does_not_encode_again(desk: Desk) -> None:
    rows = sum_rows(4)
    rows[1]["messages"][1]["content"] = "x" * 400
    file = desk.upload(rows)
    view = desk.shown(file)
    assert [(issue["line"], issue["code"]) for issue in view["training"]["issues"]] == [(2, "too_long")]
    assert view["training"]["issue_count"] == 1
    assert [row["line"] for row in view["training"]["rows"]] == [1, 3, 4]
    assert view["training"]["summary"]["rows"] == 3
    desk.tick()
    assert desk.ask(file)["status"] == "done"
    assert len(desk.encoder.seen) == 1
    desk.tick(LOOKED_AT.total_seconds() + 1)
    assert desk.ask(file)["status"] == "running", "whoever asks later has it tried again"


def test_a_row_that_stopped_the_encoder_is_named_without_a_summary(slow_desk: Desk) -> None:
    file = slow_desk.upload(sum_rows(3))
    slow_desk.ask(file)
    slow_desk.tick()
    assert isinstance(slow_desk.encoder, ScriptedEncoder)
    slow_desk.encoder.refuse(RowIssue(line=3, code="row_too_slow", message="it takes longer than 30 s"))
    slow_desk.tick()
    view = slow_desk.ask(file)
    assert view["status"] == "done"
    assert view["training"]["rows"] == []
    assert view["training"]["summary"] is None
    assert [issue["line"] for issue in view["training"]["issues"]] == [3]


def test_it_is_encoded_only_while_somebody_looks(slow_desk: Desk) -> None:
    file = slow_desk.upload(sum_rows(3))
    assert isinstance(slow_desk.encoder, ScriptedEncoder)
    slow_desk.ask(file)
    slow_desk.tick()
    (order,) = slow_desk.encoder.orders
    slow_desk.encoder.rows_read = 2
    slow_desk.tick(LOOKED_AT.total_seconds() - 2)
    assert slow_desk.ask(file)["rows_read"] == 2
    slow_desk.tick(LOOKED_AT.total_seconds() - 1)
    assert slow_desk.encoder.abandoned == []
    slow_desk.tick(2)
    assert slow_desk.encoder.abandoned == [order.key]
    assert [row.state for row in encodings(slow_desk)] == [EncodingState.WAITING]
    db = slow_desk.api.services.db
    EncodingGc(db, 10**6).run_once(slow_desk.now)
    with db.read() as session:
        assert session.scalars(select(PreviewRow)).all() == []


def test_what_was_removed_from_storage_is_made_anew(desk: Desk) -> None:
    file = desk.upload(sum_rows(3))
    desk.shown(file)
    (row,) = encodings(desk)
    shutil.rmtree(row.uri.removeprefix("file://"))
    assert desk.ask(file)["status"] == "running"
    desk.tick()
    assert desk.ask(file)["status"] == "done"
    assert len(desk.encoder.seen) == 2


def test_rows_lie_where_those_of_a_job_lie_and_nothing_is_left_when_they_go(desk: Desk) -> None:
    desk.shown(desk.upload(sum_rows(3)))
    (row,) = encodings(desk)
    assert row.uri == encoded_uri(desk.api.services.storage_uri, row.tenant_id, row.key)
    desk.tick(LOOKED_AT.total_seconds() + 1)
    EncodingGc(desk.api.services.db, 0).run_once(desk.now + timedelta(seconds=1))
    assert encodings(desk) == []
    assert list(Path(row.uri.removeprefix("file://")).parent.iterdir()) == []


def test_the_same_rows_in_another_upload_are_read_from_that_one(slow_desk: Desk) -> None:
    first = slow_desk.upload(sum_rows(3))
    slow_desk.ask(first)
    slow_desk.web.delete(f"/v1/files/{first}").raise_for_status()
    second = slow_desk.upload(sum_rows(3))
    slow_desk.ask(second)
    slow_desk.tick()
    assert isinstance(slow_desk.encoder, ScriptedEncoder)
    assert [order.dataset.file_id for order in slow_desk.encoder.orders] == [second]
    assert [row.file_id for row in encodings(slow_desk)] == [second]


def test_rows_outlive_the_upload_that_they_were_read_from_where_another_is_used(desk: Desk) -> None:
    first = desk.upload(sum_rows(3))
    desk.shown(first)
    desk.web.delete(f"/v1/files/{first}").raise_for_status()
    second = desk.upload(sum_rows(3))
    assert desk.ask(second)["status"] == "done"
    EncodingGc(desk.api.services.db, 10**6).run_once(desk.now + LOOKED_AT * 2)
    assert [row.state for row in encodings(desk)] == [EncodingState.DONE]


def test_a_file_deleted_while_it_is_read_fails_nobody_who_has_the_same_rows(slow_desk: Desk) -> None:
    first, second = slow_desk.upload(sum_rows(3)), slow_desk.upload(sum_rows(3))
    slow_desk.ask(first)
    slow_desk.tick()
    made = slow_desk.web.post("/v1/fine_tuning/jobs", json={"model": "tiny", "training_file": second}).json()
    slow_desk.tick()
    slow_desk.web.delete(f"/v1/files/{first}").raise_for_status()
    assert isinstance(slow_desk.encoder, ScriptedEncoder)
    slow_desk.encoder.fail(ErrorCode.STORAGE_UNAVAILABLE, retryable=False)
    slow_desk.tick(LOOKED_AT.total_seconds() + 1)
    slow_desk.tick(5)
    assert [order.dataset.file_id for order in slow_desk.encoder.orders] == [second]
    slow_desk.encoder.finish()
    slow_desk.tick()
    shown = slow_desk.web.get(f"/v1/fine_tuning/jobs/{made['id']}").json()
    assert shown["x_orchard"]["state"] == JobState.QUEUED


def test_an_error_of_a_job_names_its_own_file_whoever_had_the_rows_read(slow_desk: Desk) -> None:
    mine, looked_at = slow_desk.upload(sum_rows(3)), slow_desk.upload(sum_rows(3))
    made = slow_desk.web.post("/v1/fine_tuning/jobs", json={"model": "tiny", "training_file": mine}).json()
    slow_desk.steps[0].run_once(slow_desk.now)
    slow_desk.ask(looked_at)
    slow_desk.tick()
    assert isinstance(slow_desk.encoder, ScriptedEncoder)
    assert [order.dataset.file_id for order in slow_desk.encoder.orders] == [looked_at]
    slow_desk.encoder.refuse(RowIssue(line=3, code="too_long", message="too long"))
    slow_desk.tick()
    error = slow_desk.web.get(f"/v1/fine_tuning/jobs/{made['id']}").json()["error"]["message"]
    assert mine in error
    assert looked_at not in error


def test_a_machine_s_failure_is_not_the_answer_for_ever_to_one_who_keeps_asking(slow_desk: Desk) -> None:
    file = slow_desk.upload(sum_rows(3))
    slow_desk.ask(file)
    slow_desk.tick()
    assert isinstance(slow_desk.encoder, ScriptedEncoder)
    slow_desk.encoder.fail(retryable=False)
    slow_desk.tick()
    slow_desk.ask(file, 503)
    slow_desk.tick(LOOKED_AT.total_seconds() - 5)
    slow_desk.ask(file, 503)
    slow_desk.tick(10)
    assert slow_desk.ask(file)["status"] == "running"


def test_files_too_large_to_compare_in_memory_are_shown_without_what_they_share(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, validation = desk.upload(sum_rows(3)), desk.upload(sum_rows(2, start=900))
    assert desk.shown(training, validation_file=validation)["shared_rows"] == 0
    monkeypatch.setattr("orchestrator.submission.preview.MAX_COMPARED_ROWS", 2)
    assert desk.ask(training, validation_file=validation)["shared_rows"] is None


def test_a_preview_collected_while_it_is_asked_for_again_is_written_anew(desk: Desk) -> None:
    file = desk.upload(sum_rows(3))
    desk.ask(file)
    desk.now += LOOKED_AT + timedelta(seconds=1)
    EncodingGc(desk.api.services.db, 10**6).run_once(desk.now)
    desk.ask(file)
    with desk.api.services.db.read() as session:
        assert len(session.scalars(select(PreviewRow)).all()) == 1


def test_a_preview_of_another_version_holds_up_nobody(desk: Desk) -> None:
    file = desk.upload(sum_rows(3))
    desk.ask(file)
    with desk.api.services.db.write() as session:
        session.execute(update(PreviewRow).values(spec={"from": "tomorrow"}))
    made = desk.web.post("/v1/fine_tuning/jobs", json={"model": "tiny", "training_file": file}).json()
    desk.tick()
    desk.tick()
    assert desk.web.get(f"/v1/fine_tuning/jobs/{made['id']}").json()["x_orchard"]["state"] == JobState.QUEUED


def test_files_of_others_are_not_found_and_bases_of_others_not_available(desk: Desk) -> None:
    _, key = add_tenant(desk.api.services, "friend")
    foreign = desk.upload(sum_rows(3), key)
    assert desk.ask(foreign, 404)["error"]["param"] == "training_file"
    mine = desk.upload(sum_rows(3))
    assert desk.ask(mine, 404, validation_file=foreign)["error"]["param"] == "validation_file"
    assert desk.ask(mine, 400, model="secret")["error"]["code"] == "model_not_available"
    with desk.api.services.db.read() as session:
        assert session.scalars(select(PreviewRow)).all() == []


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [(ErrorCode.BASE_UNUSABLE, 400, "base_unusable"), (ErrorCode.STORAGE_UNAVAILABLE, 503, "encoding_failed")],
)
def test_what_is_no_fault_of_the_rows_is_an_error(slow_desk: Desk, code: ErrorCode, status: int, told: str) -> None:
    file = slow_desk.upload(sum_rows(3))
    slow_desk.ask(file)
    slow_desk.tick()
    assert isinstance(slow_desk.encoder, ScriptedEncoder)
    slow_desk.encoder.fail(code, retryable=False)
    slow_desk.tick()
    assert slow_desk.ask(file, status)["error"]["code"] == told


def test_a_validation_file_of_which_no_row_is_left_is_named_as_that(desk: Desk) -> None:
    long = sum_rows(2, start=900)
    for row in long:
        row["messages"][0]["content"] = "x" * 400
    options = {"validation_file": desk.upload(long), "x_orchard": {"data": {"overlength": "drop"}}}
    training = desk.upload(sum_rows(3))
    desk.ask(training, **options)
    desk.tick()
    error = desk.ask(training, 400, **options)["error"]
    assert (error["code"], error["param"]) == ("invalid_validation_file", "validation_file")
    assert options["validation_file"] in error["message"]


def test_a_tenant_looks_at_a_bounded_number_at_a_time(slow_desk: Desk) -> None:
    file = slow_desk.upload(sum_rows(3))

    def of_length(length: int, status: int = 200) -> dict[str, Any]:
        return slow_desk.ask(file, status, x_orchard={"data": {"max_seq_len": length}})

    for length in range(MAX_LOOKED_AT):
        of_length(100 + length)
    of_length(100)
    assert of_length(99, 429)["error"]["code"] == "insufficient_quota"
    slow_desk.tick(LOOKED_AT.total_seconds() + 1)
    of_length(99)

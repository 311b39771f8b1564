"""What a row does to the host that reads it: a bad one ends its job, a long one delays nobody, and a cancel ends it."""

import threading
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, ByT5Tokenizer

from tests.builders.driving import drain, of_job, outcome_of
from tests.builders.specs import chat_row, make_dataset, make_host_spec, make_job_spec, make_order, sum_rows
from tests.builders.tiny_base import CHATML, make_tiny_base, make_tokenizer
from tests.builders.waiting import wait_until
from workers.contract.base import BaseSpec
from workers.contract.errors import DataError, ErrorCode, StorageUnavailable
from workers.contract.reports import ExitClass, Heartbeat, Outcome, Prepared
from workers.contract.row_check import MAX_MESSAGES
from workers.contract.rows import ChatRow, DatasetFormat, Row
from workers.contract.spec import DatasetRef, DataSpec
from workers.data.encode import encode_training
from workers.data.pausing import Abandoned, Pause
from workers.data.text_encoder import TextEncoder
from workers.data.tokens import Tokens
from workers.engine.background import in_threads
from workers.host import TrainingHost

TEXT = DatasetFormat.TEXT


def host_with(folder: Path, base: BaseSpec, **jobs: DatasetRef) -> TrainingHost:
    """A host with a seat for each of these training files."""
    host = TrainingHost(make_host_spec(folder, base))
    for name, data in jobs.items():
        host.attach(make_order(make_job_spec(folder, base, job_id=name, training=data)))
    return host


def ends_by_line(reports: list[Any], job_id: str, line: int, code: str) -> str:
    """The message of a job that ended once, for its owner's file."""
    outcome = outcome_of(reports, job_id)
    assert (outcome.exit_class, outcome.error_code) == (ExitClass.USER, ErrorCode.INVALID_TRAINING_FILE)
    assert [(detail["line"], detail["code"]) for detail in outcome.details] == [(line, code)]
    assert f"line {line}" in str(outcome.message)
    return str(outcome.message)


@pytest.mark.parametrize("place", ["content", "tools", "arguments"])
def test_half_a_character_in_a_file_of_an_older_service_ends_its_job_and_no_other(
    tmp_path: Path, tiny_base: BaseSpec, place: str
) -> None:
    row: dict[str, Any] = chat_row("q", "a")
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"n": "\\ud83d"}'}}
    match place:
        case "content":
            row["messages"][1]["content"] = "cut \ud83d"
        case "tools":
            row["tools"] = [{"function": {"name": "\ud83d"}}]
        case _:
            row["messages"][1]["tool_calls"] = [call]
    bad = make_dataset(tmp_path / "bad.jsonl", [*sum_rows(3), row])
    reports = drain(host_with(tmp_path, tiny_base, bad=bad, good=make_dataset(tmp_path / "good.jsonl")))
    ends_by_line(reports, "bad", 4, "string_unicode")
    assert outcome_of(reports, "good").exit_class is ExitClass.OK


def test_a_token_without_an_embedding_ends_its_job_with_line_and_token(tmp_path: Path) -> None:
    base = make_tiny_base(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    tokenizer.add_tokens(["<|beyond|>"])
    tokenizer.save_pretrained(tmp_path / "base")
    rows = [{"text": f"row {n}"} for n in range(4)]
    rows[2]["text"] = "it is <|beyond|> all"
    bad, good = make_dataset(tmp_path / "bad.jsonl", rows, TEXT), make_dataset(tmp_path / "good.jsonl", rows[:2], TEXT)
    reports = drain(host_with(tmp_path, base, bad=bad, good=good))
    message = ends_by_line(reports, "bad", 3, "not_encoded")
    assert "'<|beyond|>' (261)" in message
    assert "which has 261" in message
    assert outcome_of(reports, "good").exit_class is ExitClass.OK


def test_chat_rows_over_a_tokenizer_without_offsets_are_refused_with_the_reason(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "rows.jsonl", sum_rows(2))
    with pytest.raises(DataError, match=r"ByT5Tokenizer.*use prompt/completion rows") as caught:
        encode_training(TextEncoder(ByT5Tokenizer(), CHATML), DataSpec(training=data))
    assert [(issue.line, issue.code) for issue in caught.value.issues] == [(1, "chat_template"), (2, "chat_template")]


class Panic(BaseException):
    """As pyo3 raises it; the class cannot be imported."""


Panic.__name__ = "PanicException"


@pytest.mark.parametrize("error", [KeyError("offsets"), IndexError(), TypeError(), RuntimeError("secret"), Panic()])
def test_any_error_over_one_row_is_that_rows_and_the_others_are_still_looked_at(
    tmp_path: Path, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def encode(row: Row, pause: Pause) -> Tokens:
        if "after 1?" in str(row):
            raise error
        return TextEncoder(make_tokenizer(), None)(row, pause)

    with pytest.raises(DataError) as caught:
        encode_training(encode, DataSpec(training=make_dataset(tmp_path / "rows.jsonl", sum_rows(3))))
    assert [(issue.line, issue.code) for issue in caught.value.issues] == [(2, "not_encoded")]
    assert type(error).__name__ in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "line 2 could not be encoded" in caplog.text


@pytest.mark.parametrize("error", [OSError(), MemoryError(), ImportError(), StorageUnavailable(), Abandoned()])
def test_what_is_the_machines_is_not_blamed_on_a_row(tmp_path: Path, error: Exception) -> None:
    def encode(row: Row, pause: Pause) -> Tokens:
        raise error

    with pytest.raises(type(error)):
        encode_training(encode, DataSpec(training=make_dataset(tmp_path / "rows.jsonl")))


def test_a_row_of_too_many_messages_is_refused_before_it_is_rendered(tmp_path: Path) -> None:
    rows = [*sum_rows(1), {"messages": [{"role": "assistant", "content": "a"}] * (MAX_MESSAGES + 1)}]
    data = DataSpec(training=make_dataset(tmp_path / "rows.jsonl", rows))
    with pytest.raises(DataError) as caught:
        encode_training(TextEncoder(make_tokenizer(), None), data)
    assert [(issue.line, issue.code) for issue in caught.value.issues] == [(2, "too_many_messages")]


def test_a_long_conversation_can_be_stopped_between_its_renderings() -> None:
    row = ChatRow.model_validate({"messages": [m for n in range(20) for m in chat_row(f"{n}?", "a")["messages"]]})
    pauses: list[None] = []

    def pause() -> None:
        pauses.append(None)
        if len(pauses) == 2:
            raise Abandoned

    encode = TextEncoder(make_tokenizer(), None)
    with pytest.raises(Abandoned):
        encode(row, pause)
    encode(row, pause)
    assert len(pauses) - 2 > 2


class Stuck:
    """A row that stays in the middle of its rendering until it is let go; it pauses all the while, as all rows do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
        self.entered, self.let_go, self.left = threading.Event(), threading.Event(), threading.Event()
        plain = TextEncoder.__call__

        def encode(encoder: TextEncoder, row: Row, pause: Pause) -> Tokens:
            if words in str(row):
                self.entered.set()
                try:
                    while not self.let_go.is_set():
                        pause()
                finally:
                    self.left.set()
            return plain(encoder, row, pause)

        monkeypatch.setattr(TextEncoder, "__call__", encode)


def beats(host: TrainingHost, job_id: str) -> Heartbeat:
    return of_job([numbered.report for numbered in host.poll(0).reports], Heartbeat, job_id)[-1]


def has(host: TrainingHost, kind: type[Any], job_id: str) -> bool:
    return bool(of_job([numbered.report for numbered in host.poll(0).reports], kind, job_id))


def in_background(folder: Path, base: BaseSpec) -> TrainingHost:
    return TrainingHost(make_host_spec(folder, base), executor=in_threads)


def working(host: TrainingHost, until: Any, what: str) -> None:
    wait_until(lambda: (host.run_once(), until())[1], what, 60.0, pause_s=0.001)


def test_a_seat_whose_row_takes_for_ever_delays_no_other_and_ends_when_it_is_cancelled(
    tmp_path: Path, tiny_base: BaseSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = Stuck(monkeypatch, "after 5?")
    host = in_background(tmp_path, tiny_base)
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="slow")))
    working(host, stuck.entered.is_set, "the slow row")
    quick = make_dataset(tmp_path / "quick.jsonl", sum_rows(4, start=90))
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="quick", training=quick)))
    working(host, lambda: has(host, Outcome, "quick"), "the other seat's end")
    assert outcome_of([numbered.report for numbered in host.poll(0).reports], "quick").exit_class is ExitClass.OK
    slow = beats(host, "slow")
    assert (slow.phase, slow.rows_read) == ("preparing", 5)

    host.detach("slow", 1, ExitClass.CANCELLED)
    working(host, lambda: has(host, Outcome, "slow"), "the slow seat's end")
    assert stuck.left.wait(60), "its reader stopped within the row"
    host.stop()


def test_a_host_says_how_many_rows_it_has_read_and_only_while_it_reads(
    tmp_path: Path, tiny_base: BaseSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = Stuck(monkeypatch, "after 101?")
    host = in_background(tmp_path, tiny_base)
    validation = make_dataset(tmp_path / "validation.jsonl", sum_rows(3, start=100))
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="one", validation=validation)))
    host.poll(0)
    assert beats(host, "one").rows_read is None
    working(host, stuck.entered.is_set, "the row")
    assert beats(host, "one").rows_read == 12 + 1, "rows of both files"
    stuck.let_go.set()
    working(host, lambda: has(host, Prepared, "one"), "the seat")
    host.run_once()
    assert beats(host, "one").rows_read is None
    drain(host)
    host.stop()

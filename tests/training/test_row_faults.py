"""What a row does to what encodes it: a bad one is refused with its line, and whatever it raises is its own fault."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, ByT5Tokenizer

from tests.builders.encoded import encode_to_store, encode_training
from tests.builders.specs import chat_row, make_dataset, make_job_spec, sum_rows
from tests.builders.tiny_base import CHATML, make_tiny_base, make_tokenizer
from workers.contract.base import BaseSpec
from workers.contract.errors import DataError, ErrorCode, StorageUnavailable
from workers.contract.row_check import MAX_MESSAGES
from workers.contract.rows import DatasetFormat, Row
from workers.contract.spec import DatasetRef, DataSpec
from workers.data.text_encoder import TextEncoder
from workers.data.tokens import Tokens

TEXT = DatasetFormat.TEXT


def refused(folder: Path, base: BaseSpec, data: DatasetRef, line: int, code: str) -> str:
    """The message for the file's owner, which names this line alone."""
    with pytest.raises(DataError) as caught:
        encode_to_store(make_job_spec(folder, base, training=data))
    assert caught.value.code is ErrorCode.INVALID_TRAINING_FILE
    assert [(issue.line, issue.code) for issue in caught.value.issues] == [(line, code)]
    assert f"line {line}" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("place", ["content", "tools", "arguments"])
def test_half_a_character_in_a_file_of_an_older_service_is_refused_with_its_line(
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
    refused(tmp_path, tiny_base, bad, 4, "string_unicode")


def test_a_token_without_an_embedding_is_refused_with_line_and_token(tmp_path: Path) -> None:
    base = make_tiny_base(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    tokenizer.add_tokens(["<|beyond|>"])
    tokenizer.save_pretrained(tmp_path / "base")
    rows = [{"text": f"row {n}"} for n in range(4)]
    rows[2]["text"] = "it is <|beyond|> all"
    message = refused(tmp_path, base, make_dataset(tmp_path / "bad.jsonl", rows, TEXT), 3, "not_encoded")
    assert "'<|beyond|>' (261)" in message
    assert "which has 261" in message


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
    def encode(row: Row) -> Tokens:
        if "after 1?" in str(row):
            raise error
        return TextEncoder(make_tokenizer(), None)(row)

    with pytest.raises(DataError) as caught:
        encode_training(encode, DataSpec(training=make_dataset(tmp_path / "rows.jsonl", sum_rows(3))))
    assert [(issue.line, issue.code) for issue in caught.value.issues] == [(2, "not_encoded")]
    assert type(error).__name__ in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "line 2 could not be encoded" in caplog.text


@pytest.mark.parametrize("error", [OSError(), MemoryError(), ImportError(), StorageUnavailable()])
def test_what_is_the_machines_is_not_blamed_on_a_row(tmp_path: Path, error: Exception) -> None:
    def encode(row: Row) -> Tokens:
        raise error

    with pytest.raises(type(error)):
        encode_training(encode, DataSpec(training=make_dataset(tmp_path / "rows.jsonl")))


def test_a_row_of_too_many_messages_is_refused_before_it_is_rendered(tmp_path: Path) -> None:
    rows = [*sum_rows(1), {"messages": [{"role": "assistant", "content": "a"}] * (MAX_MESSAGES + 1)}]
    data = DataSpec(training=make_dataset(tmp_path / "rows.jsonl", rows))
    with pytest.raises(DataError) as caught:
        encode_training(TextEncoder(make_tokenizer(), None), data)
    assert [(issue.line, issue.code) for issue in caught.value.issues] == [(2, "too_many_messages")]

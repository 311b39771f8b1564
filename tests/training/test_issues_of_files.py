"""What is told of bad rows when files become tokens: of either file alike, and never more than a bound."""

from pathlib import Path
from typing import Any

import pytest

from tests.builders.driving import drain, outcome_of
from tests.builders.specs import chat_row, make_dataset, make_host_spec, make_job_spec, make_order, sum_rows
from tests.builders.tiny_base import make_tokenizer
from workers.contract.base import BaseSpec
from workers.contract.errors import DataError, ErrorCode, ValidationDataError
from workers.contract.issues import MAX_FIELD_CHARS, MAX_ISSUES, MAX_MESSAGE_CHARS
from workers.contract.rows import DatasetFormat, Row, RowIssue
from workers.contract.spec import DataSpec
from workers.data.encode import encode_training, encode_validation
from workers.data.pausing import Pause
from workers.data.text_encoder import TextEncoder
from workers.data.tokens import Tokens, UnusableRow
from workers.engine.attempt import Attempt
from workers.host import TrainingHost

TEXT = DatasetFormat.TEXT


def muted(question: str) -> dict[str, Any]:
    """A row whose answer lies beyond the tokens that are kept."""
    return chat_row(question * 200, "no")


BAD: dict[str, list[dict[str, Any]]] = {
    "too long": [chat_row("a", "b" * 300), chat_row("c", "d"), muted("e")],
    "not of the format": [chat_row("a", "b"), {"text": "t"}, {"messages": []}, {"messages": [{"role": "robot"}]}],
    "nothing to learn": [{"messages": [{"role": "assistant", "content": "x", "weight": 0}]}],
}


@pytest.mark.parametrize("rows", BAD.values(), ids=BAD)
def test_rows_of_the_validation_file_are_refused_like_those_of_the_training_file(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    good, bad = make_dataset(tmp_path / "good.jsonl"), make_dataset(tmp_path / "bad.jsonl", rows)
    encode = TextEncoder(make_tokenizer(), None)
    with pytest.raises(DataError) as training:
        encode_training(encode, DataSpec(training=bad, max_seq_len=64))
    with pytest.raises(ValidationDataError) as validation:
        encode_validation(encode, DataSpec(training=good, validation=bad, max_seq_len=64))
    assert training.value.issues
    assert validation.value.issues == training.value.issues
    assert str(validation.value) == str(training.value)
    codes = (training.value.code, validation.value.code)
    assert codes == (ErrorCode.INVALID_TRAINING_FILE, ErrorCode.INVALID_VALIDATION_FILE)


def test_a_host_tells_the_lines_of_a_bad_validation_file_under_its_own_code(
    tmp_path: Path, tiny_base: BaseSpec
) -> None:
    rows = sum_rows(4)
    rows[2] = chat_row("a", "b" * 300)
    bad = make_dataset(tmp_path / "validation.jsonl", rows)
    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, validation=bad)))
    outcome = outcome_of(drain(host), "ftjob-1")
    assert outcome.error_code is ErrorCode.INVALID_VALIDATION_FILE
    assert [(detail["line"], detail["code"]) for detail in outcome.details] == [(3, "too_long")]


def test_encoding_stops_where_a_file_has_too_many_bad_rows_and_says_where(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "rows.jsonl", [{"text": "t"}] * (MAX_ISSUES + 50), TEXT)
    encoded: list[Row] = []

    def refuse(row: Row, _: Pause) -> Tokens:
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


def test_the_end_of_an_attempt_carries_every_problem_in_bounded_and_storable_text(
    tmp_path: Path, tiny_base: BaseSpec
) -> None:
    attempt = Attempt(make_order(make_job_spec(tmp_path, tiny_base)), deadline=0)
    long = RowIssue(line=1, field="f\0" * 500, code="c", message="m\ud800" * 5_000)
    outcome = attempt.failed(DataError("bad", [long] * 3_000))
    assert len(outcome.details) == 3_000
    field, message = str(outcome.details[0]["field"]), str(outcome.details[0]["message"])
    assert (len(field), len(message)) == (MAX_FIELD_CHARS, MAX_MESSAGE_CHARS)
    assert (field[:4], message[:4]) == ("f�f�", "m�m�")

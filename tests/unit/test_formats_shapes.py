"""Rows as people have them become rows of the models, and what is wrong with them is told where they have it."""

import io
import json
from typing import Any

import pytest

from tests.builders.file_forms import CALL, CHAT, PREFERENCES, SHAPES, TOOL, A, Q, as_jsonl, said
from workers.contract.rows import ROW_MODELS, DatasetFormat
from workers.contract.spec import ExtraKeys
from workers.formats.reading import FileReading
from workers.formats.shapes import SHAPES as REGISTRY
from workers.formats.shapes import shape_of

EVERY = SHAPES | PREFERENCES


def read(*rows: dict[str, Any], wanted: str | None = None, extra: ExtraKeys = ExtraKeys.IGNORE) -> FileReading:
    return FileReading(io.BytesIO(as_jsonl(rows)), wanted, extra)


def converted(row: dict[str, Any], wanted: str | None = None) -> dict[str, Any]:
    """The row as its model has it, as JSON."""
    (checked,) = read(row, wanted=wanted).rows()
    assert checked.row is not None, checked.issues
    return checked.row.model_dump(mode="json", exclude_none=True)


def told(row: dict[str, Any], wanted: str | None = None, extra: ExtraKeys = ExtraKeys.IGNORE) -> list[tuple[Any, str]]:
    (checked,) = read(row, wanted=wanted, extra=extra).rows()
    assert checked.row is None, "the row was taken"
    return [(issue.field, issue.code) for issue in checked.issues]


def notes(*rows: dict[str, Any]) -> dict[str, str]:
    reading = read(*rows)
    assert all(checked.row for checked in reading.rows())
    return {note.code: note.message for note in reading.notes}


@pytest.mark.parametrize("name", EVERY)
def test_each_shape_is_told_by_its_keys_and_gives_rows_of_its_format(name: str) -> None:
    row, shape, format = EVERY[name]
    reading = read(row, row)
    rows = [checked.row for checked in reading.rows()]
    assert (reading.shape, reading.format) == (shape, format)
    assert [type(each) for each in rows] == [ROW_MODELS[DatasetFormat(format)]] * 2


@pytest.mark.parametrize("name", ["openai", "content-parts", "pairs-of-messages", "sharegpt", "question", "query"])
def test_one_question_and_its_answer_are_the_same_chat_in_every_spelling(name: str) -> None:
    assert converted(EVERY[name][0]) == {"messages": CHAT}


def test_an_alpaca_row_asks_its_instruction_a_blank_line_and_its_input() -> None:
    row = {"instruction": "Count.", "input": Q, "output": A, "system": "Be brief.", "history": [["one?", "two"]]}
    before = [said("system", "Be brief."), said("user", "one?"), said("assistant", "two")]
    assert converted(row)["messages"] == [*before, said("user", f"Count.\n\n{Q}"), said("assistant", A)]
    assert converted(row | {"input": "", "history": [], "system": ""})["messages"][0] == said("user", "Count.")


def test_former_function_calls_become_tool_calls_with_their_results() -> None:
    row = converted(EVERY["functions"][0])
    call = {"id": "call_1_0", "type": "function", "function": CALL}
    assert row["messages"] == [
        CHAT[0],
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "4", "name": "add", "tool_call_id": "call_1_0"},
        CHAT[1],
    ]
    assert row["tools"] == [{"type": "function", "function": TOOL}]


def test_tool_calls_of_the_hub_are_completed_and_stray_parts_of_a_stream_are_left_out() -> None:
    calls = [{"index": 0, "type": "function", "function": {"name": "add", "arguments": {"to": "é"}}}]
    row = converted({"messages": [CHAT[0], {"role": "assistant", "tool_calls": calls}, said("tool", "4")]})
    function = {"name": "add", "arguments": '{"to": "é"}'}
    assert row["messages"][1]["tool_calls"] == [{"id": "call_1_0", "type": "function", "function": function}]
    assert row["messages"][2]["tool_call_id"] == "call_1_0"


def test_sharegpt_turns_may_call_tools_and_carry_weights() -> None:
    turns = [
        {"from": "human", "value": Q},
        {"from": "function_call", "value": json.dumps({"name": "add", "arguments": {"to": 3}})},
        {"from": "observation", "value": "4"},
        {"from": "gpt", "value": A, "weight": 0},
        {"from": "user", "value": "and?"},
        {"from": "assistant", "value": "5"},
    ]
    row = converted({"conversations": turns, "system": "s", "tools": json.dumps([TOOL])})
    assert [message["role"] for message in row["messages"]] == [
        *("system", "user", "assistant", "tool", "assistant", "user", "assistant"),
    ]
    assert row["messages"][2]["tool_calls"][0]["function"] == CALL
    assert row["messages"][3]["tool_call_id"] == row["messages"][2]["tool_calls"][0]["id"]
    assert [message.get("weight") for message in row["messages"]] == [None, None, None, None, 0, None, None]
    assert row["tools"] == [TOOL]


def test_of_a_conversational_pair_only_the_completion_carries_loss() -> None:
    prompt = [*CHAT, said("user", "and?")]
    row = converted(
        {"prompt": prompt, "completion": [said("assistant", "5"), said("user", "x"), said("assistant", "6")]}
    )
    assert [message.get("weight") for message in row["messages"]] == [None, 0, None, None, None, None]


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_has_one_name(key: str) -> None:
    row = converted({"messages": [CHAT[0] | {key: None}, CHAT[1] | {key: "3 + 1"}]})
    assert row["messages"] == [CHAT[0], CHAT[1] | {"reasoning_content": "3 + 1"}]


def test_a_refusal_is_what_the_assistant_said() -> None:
    row = converted({"messages": [CHAT[0], {"role": "assistant", "content": None, "refusal": "I cannot."}]})
    assert row["messages"][1] == said("assistant", "I cannot.")


def test_weight_means_nothing_on_other_roles() -> None:
    assert converted({"messages": [CHAT[0] | {"weight": 0}, CHAT[1]]}) == {"messages": CHAT}


def test_both_spellings_of_a_preference_are_one_row() -> None:
    expected = {"prompt": CHAT[:1], "chosen": CHAT[1:], "rejected": [said("assistant", "it is 5.")]}
    first = EVERY["openai-preference"][0]
    former = {key.replace("_output", "_completion"): value for key, value in first.items()}
    shared = {"chosen": CHAT, "rejected": [CHAT[0], said("assistant", "it is 5.")]}
    assert [converted(row) for row in (first, former, expected, shared)] == [expected] * 4


def test_a_label_makes_a_pair_a_kto_row_unless_its_owner_says_otherwise() -> None:
    row = {"prompt": Q, "completion": A, "label": "good"}
    assert told(row) == [("label", "bool_type")]
    assert converted(row, wanted="prompt_completion") == {"prompt": Q, "completion": A}


@pytest.mark.parametrize(
    ("row", "shapes"),
    [
        ({"messages": CHAT, "conversations": []}, "chat and sharegpt"),
        ({"instruction": "i", "input": "", "output": "o", "text": "t"}, "alpaca and text"),
        ({"prompt": Q, "completion": A, "chosen": A, "rejected": "b"}, "preference and prompt_completion"),
    ],
)
def test_keys_of_two_shapes_are_asked_about_and_never_guessed(row: dict[str, Any], shapes: str) -> None:
    (checked,) = read(row).rows()
    (issue,) = checked.issues
    assert (issue.code, f"the keys fit {shapes};" in issue.message) == ("ambiguous_format", True)
    assert "give the upload a format" in issue.message


def test_a_format_that_the_owner_names_settles_it() -> None:
    row = {"instruction": "i", "output": "o", "text": "t"}
    assert converted(row, wanted="text") == {"text": "t"}
    assert converted(row, wanted="alpaca")["messages"][1] == said("assistant", "o")
    assert told({"text": "t"}, wanted="alpaca") == [("instruction", "missing")]


def test_no_shape_is_made_of_the_keys_of_another_alone() -> None:
    """Recognition of a later row may then stop at the shape of the first."""
    for shape in REGISTRY:
        others = [other for other in REGISTRY if other.name != shape.name and not shape.required > other.required]
        assert not [other.name for other in others if other.required <= shape.required | shape.optional]


def test_a_key_without_a_value_does_not_count() -> None:
    assert shape_of({"messages": None, "text": "t"}).name == "text"


def test_a_file_has_one_shape() -> None:
    reading = read(EVERY["alpaca"][0], EVERY["question"][0], EVERY["alpaca"][0])
    issues = [issue for checked in reading.rows() for issue in checked.issues]
    assert [(issue.line, issue.code) for issue in issues] == [(2, "mixed_formats")]
    assert "Got alpaca on line 1 and question_answer here" in issues[0].message


@pytest.mark.parametrize(
    ("row", "field", "code"),
    [
        ({"conversations": [{"from": "human", "value": Q}, {"from": "gpt", "value": 5}]}, "conversations.1.value",
         "string_type"),
        ({"conversations": [{"from": "robot", "value": Q}]}, "conversations.0.from", "unknown_role"),
        ({"conversations": [{"value": Q}]}, "conversations.0.from", "missing"),
        ({"conversations": [{"from": "function_call", "value": "add(3)"}]}, "conversations.0.value",
         "invalid_function_call"),
        ({"conversations": "x"}, "conversations", "list_type"),
        ({"conversations": []}, "conversations", "too_short"),
        ({"conversations": [said("user", Q), said("assistant", 5)]}, "conversations.1.content", "string_type"),
        ({"system": "s", "conversations": [said("user", Q), said("robot", "x")]}, "conversations.1.role", "enum"),
        ({"instruction": "i", "output": ""}, "output", "string_too_short"),
        ({"instruction": 5, "output": "o"}, "instruction", "string_type"),
        ({"instruction": "i"}, "output", "missing"),
        ({"instruction": "i", "output": "o", "history": [["q"]]}, "history.0", "invalid_history"),
        ({"question": "q"}, "answer", "missing"),
        ({"query": "q", "response": None}, "response", "missing"),
        ({"prompt": CHAT[:1], "completion": A}, "completion", "list_type"),
        ({"prompt": CHAT[:1], "completion": [said("assistant", 5)]}, "completion.0.content", "string_type"),
        ({"messages": [said("user", [{"type": "image_url", "image_url": {}}]), CHAT[1]]}, "messages.0.content.0",
         "unsupported_content"),
        ({"messages": [CHAT[0], CHAT[1] | {"refusal": "no"}]}, "messages.1.refusal", "ambiguous_content"),
        ({"messages": [CHAT[0], CHAT[1] | {"reasoning": "a", "thinking": "b"}]}, "messages.1", "invalid_reasoning"),
        ({"messages": [said("function", "4", name="add"), CHAT[1]]}, "messages.0", "no_open_call"),
        ({"messages": [CHAT[0], {"role": "assistant", "function_call": {"name": "f"}}]},
         "messages.1.function_call.arguments", "missing"),
        ({"messages": CHAT, "functions": [TOOL], "tools": []}, "functions", "ambiguous_tools"),
        ({"messages": CHAT, "functions": [1] * 200}, "functions", "too_many_tools"),
        ({"messages": CHAT, "tools": "[1"}, "tools", "invalid_json"),
        ({"prompt": Q, "chosen": A, "rejected": A}, None, "value_error"),
        ({"prompt": Q, "chosen": CHAT[1:], "rejected": "b"}, None, "value_error"),
        ({"prompt": CHAT, "chosen": [said("robot", "x")], "rejected": CHAT[1:]}, "chosen.0.role", "enum"),
        ({"chosen": A, "rejected": "b"}, "prompt", "missing"),
        ({"input": {"messages": CHAT}, "preferred_output": CHAT[1:], "non_preferred_output": [said("robot", "x")]},
         "non_preferred_output.0.role", "enum"),
        ({"input": {"messages": CHAT}, "preferred_output": CHAT[1:]}, "non_preferred_output", "missing"),
        ({"input": "q", "preferred_output": CHAT, "non_preferred_output": CHAT}, "input", "dict_type"),
        ({"prompt": Q, "completion": [], "label": True}, "completion", "too_short"),
        ({"conversations": [{"from": "human", "value": "cut \ud83d"}]}, "conversations.0.value", "string_unicode"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_where_the_owner_has_it(row: dict[str, Any], field: str | None, code: str) -> None:
    assert told(row)[0] == (field, code)


def test_extra_keys_are_ignored_with_one_note_a_kind() -> None:
    row = {"messages": [message | {"id": 5, "audio": None} for message in CHAT], "source": "web"}
    reading = read(row, row, {"messages": CHAT})
    assert [checked.row.model_dump(exclude_none=True)["messages"][0]["content"] for checked in reading.rows()] == [
        Q
    ] * 3
    found = {note.message.split()[2]: (note.line, note.rows) for note in reading.notes if note.code == "extra_key"}
    assert found == {"messages.*.id": (1, 2), "source": (1, 2)}


def test_extra_keys_are_errors_for_a_job_that_asks_for_it() -> None:
    row = {"messages": [CHAT[0], CHAT[1] | {"id": 5}], "source": "web", "null": None}
    assert told(row, extra=ExtraKeys.ERROR) == [("source", "extra_forbidden"), ("messages.1.id", "extra_forbidden")]


def test_notes_are_bounded_however_many_keys_a_file_invents() -> None:
    reading = read(*({"text": "t", **{f"k{row}_{key}": 1 for key in range(40)}} for row in range(20)))
    assert all(checked.row for checked in reading.rows())
    kinds = list(reading.notes)
    assert (len(kinds), kinds[-1].code) == (51, "more_notes")


def test_what_was_assumed_is_said() -> None:
    assert notes(EVERY["alpaca"][0])["joined"] == "input follows instruction after a blank line"
    assert "human is the user" in notes(EVERY["sharegpt"][0])["converted"]
    assert set(notes(EVERY["functions"][0])) == {"function_call", "call_id", "function_role", "functions"}
    assert notes(EVERY["openai"][0]) == {}


def test_a_role_that_is_no_text_is_named_as_any_other_bad_value() -> None:
    row = {"messages": [{"role": [], "content": "a"}, {"role": "assistant", "content": "b"}]}
    assert [field for field, _ in told(row)] == ["messages.0.role"]

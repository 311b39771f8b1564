"""One line of a data set: its bounds, its characters, and how much is told of it."""

import io
import json
from typing import Any

import pytest

from orchestrator.files.validate import check_file
from workers.contract import row_check
from workers.contract.issues import MAX_ISSUES
from workers.contract.row_check import (
    MAX_FIELDS,
    MAX_MESSAGES,
    MAX_ROW_ISSUES,
    MAX_TOOL_CALLS,
    MAX_TOOLS,
    MAX_VALUES,
    check_row,
    parse_row,
)
from workers.contract.rows import ChatRow, DatasetFormat, RowIssue, TextRow
from workers.formats.shapes import shape_of

USER = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}
HALF = "cut \ud83d"


def call(arguments: str = "{}", **more: Any) -> dict[str, Any]:
    return {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}} | more


def chat(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": [USER, ANSWER, *messages]} | fields


def checked(row: dict[str, Any] | bytes) -> Any:
    content = row if isinstance(row, bytes) else json.dumps(row).encode()
    parsed = parse_row(7, content)
    assert not isinstance(parsed, RowIssue)
    return check_row(7, shape_of(parsed).format, parsed, content)


def told(row: dict[str, Any] | bytes) -> list[tuple[str | None, str]]:
    issues = checked(row)
    assert isinstance(issues, list), "the row was taken"
    assert all(issue.line == 7 for issue in issues)
    return [(issue.field, issue.code) for issue in issues]


@pytest.mark.parametrize(
    ("row", "limit", "issue"),
    [
        (lambda n: {"messages": [ANSWER] * n}, MAX_MESSAGES, ("messages", "too_many_messages")),
        (lambda n: chat(tools=[{}] * n), MAX_TOOLS, ("tools", "too_many_tools")),
        (lambda n: chat(ANSWER | {"tool_calls": [call()] * n}), MAX_TOOL_CALLS,
         ("messages.2.tool_calls", "too_many_tool_calls")),
    ],
)  # fmt: skip
def test_a_row_may_have_as_much_as_is_allowed_and_not_one_more(row: Any, limit: int, issue: tuple[str, str]) -> None:
    assert isinstance(checked(row(limit)), ChatRow)
    assert told(row(limit + 1)) == [issue]
    assert f"at most {limit:,} are allowed" in checked(row(limit + 1))[0].message


@pytest.mark.parametrize(
    ("where", "row"),
    [
        (None, lambda many: chat(**many)),
        (None, lambda many: {"text": "t"} | many),
        ("messages.2", lambda many: chat(ANSWER | many)),
        ("messages.2.tool_calls.1", lambda many: chat(ANSWER | {"tool_calls": [call(), call(**many)]})),
        (
            "messages.2.tool_calls.0.function",
            lambda many: chat(ANSWER | {"tool_calls": [{"id": "c", "function": many | {"name": "f"}}]}),
        ),
    ],
)
def test_fields_without_end_are_one_problem_named_by_its_place(where: str | None, row: Any) -> None:
    assert told(row({f"f{n}": 1 for n in range(MAX_FIELDS + 1)})) == [(where, "too_many_fields")]


@pytest.mark.parametrize("place", ["tools", "arguments"])
def test_schemas_and_arguments_may_be_large_within_a_bound_on_values(place: str) -> None:
    def row(count: int) -> dict[str, Any]:
        schema = {"enum": list(range(count))}
        if place == "tools":
            return chat(tools=[schema])
        return chat(ANSWER | {"tool_calls": [call(json.dumps(schema))]})

    assert isinstance(checked(row(MAX_VALUES // 2)), ChatRow)
    assert told(row(MAX_VALUES)) == [(None, "too_many_values")]


def test_every_bad_message_is_listed_up_to_a_bound_and_beside_what_else_is_wrong() -> None:
    assert told(chat({"role": "robot", "content": "x"}, USER, 5, extra=1)) == [
        ("messages.2.role", "enum"),
        ("messages.4", "model_type"),
        ("extra", "extra_forbidden"),
    ]
    assert len(told(chat(*[1] * 500))) == MAX_ROW_ISSUES


def test_a_list_of_bad_messages_alone_is_not_called_too_short() -> None:
    assert told({"messages": [1]}) == [("messages.0", "model_type")]


@pytest.mark.parametrize(
    ("field", "row"),
    [
        ("text", {"text": HALF}),
        ("prompt", {"prompt": HALF, "completion": "c"}),
        ("messages.2.content", chat({"role": "user", "content": HALF})),
        ("messages.2.name", chat(ANSWER | {"name": HALF})),
        ("tools.0.function.name", chat(tools=[{"function": {"name": HALF}}])),
        ("tools.0", chat(tools=[{HALF: 1}])),
        ("messages.2.tool_calls.0.id", chat(ANSWER | {"tool_calls": [call() | {"id": HALF}]})),
        ("messages.2.tool_calls.0.function.arguments", chat(ANSWER | {"tool_calls": [call('{"n": ["\\ud83d"]}')]})),
        ("messages.2.tool_calls.0.function.arguments", chat(ANSWER | {"tool_calls": [call('{"\\ud83d": 1}')]})),
        ("messages.2.tool_calls.0.function.arguments", chat(ANSWER | {"tool_calls": [call(HALF)]})),
    ],
)
def test_half_a_character_is_refused_wherever_it_stands(field: str, row: dict[str, Any]) -> None:
    assert told(row) == [(field, "string_unicode")]


def test_a_whole_character_may_be_spelled_by_two_escapes_and_a_backslash_is_no_escape() -> None:
    assert checked(b'{"text": "\\ud83d\\ude00 and C:\\\\ud83d"}') == TextRow(text="\N{GRINNING FACE} and C:\\ud83d")


def test_a_row_nested_as_deep_as_json_goes_is_walked_without_an_end_of_the_stack() -> None:
    deep = b'{"messages": [{"role": "assistant", "content": "a"}], "tools": [{"a": ' + b"[" * 400 + b"]" * 400 + b"}]}"
    assert told(deep.replace(b'"a": [[', b'"b": "\\ud83d", "a": [[')) == [("tools.0.b", "string_unicode")]


def test_four_million_wrong_items_are_one_problem_and_are_never_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_check, "ROW_MODELS", {})  # the model is not asked
    content = b'{"messages":[' + b"1," * 4_190_000 + b"1]}"
    findings = check_file(io.BytesIO(content))
    assert [(issue.line, issue.field, issue.code) for issue in findings.issues] == [
        (1, "messages", "too_many_messages")
    ]
    assert findings.status_details == (
        "Invalid file format. Line 1, messages: 4,190,001 messages, but at most 10,000 are allowed; split the row"
    )


def test_checking_stops_where_a_file_has_too_many_problems_and_says_where() -> None:
    content = b'{"text": "good"}\n' + b"x\n" * (MAX_ISSUES + 5) + b'{"text": "late"}\n'
    findings = check_file(io.BytesIO(content * 2))
    assert (findings.rows, findings.issue_count, len(findings.issues)) == (1, MAX_ISSUES, MAX_ISSUES)
    assert (findings.issues[-1].line, findings.issues[-1].code) == (MAX_ISSUES + 2, "checking_stopped")
    assert findings.format is DatasetFormat.TEXT

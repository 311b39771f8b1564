"""A part of a row that the chat template does not show is told, and not lost in silence."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.hosts.event_messages import prepared_events
from tests.builders.chat import ADD, calls, encode, result, says
from tests.builders.driving import drain, of_job, outcome_of
from tests.builders.encoded import encode_training
from tests.builders.families import family_tokenizer
from tests.builders.specs import make_dataset, make_host_spec, make_job_spec, make_order
from tests.builders.tiny_base import CHATML_WITH_GENERATION, make_tokenizer
from workers.contract.base import BaseSpec
from workers.contract.errors import DataError
from workers.contract.issues import MAX_FIELD_CHARS
from workers.contract.preview import PreviewRow
from workers.contract.reports import ExitClass, Prepared
from workers.contract.spec import DataSpec, OnDropped
from workers.data.chat.dropped import DroppedByTemplate
from workers.data.encode import MAX_LEFT_OUT, OTHER_FIELDS, encode_file
from workers.data.preview import show_row
from workers.data.reading import ReadRow
from workers.data.text_encoder import TextEncoder
from workers.data.tokens import Tokens
from workers.host import TrainingHost

ASK, ANSWER = says("user", "add 4"), says("assistant", "8")
CALL = [ASK, calls({"n": 4})]
TOOL_USE = [*CALL, result("it is 8"), ANSWER]
DEVELOPER = [says("developer", "be short"), ASK, ANSWER]
REASONED = [ASK, says("assistant", "8", reasoning_content="since 4 and 4")]
TAGGED = [ASK, says("assistant", "<think>\nsince 4 and 4\n</think>\n\n8")]


@pytest.mark.parametrize(
    ("family", "messages", "tools", "field"),
    [
        ("gemma3", CALL, None, "messages.1.tool_calls"),
        ("llama3", CALL, None, "messages.1.tool_calls"),
        ("phi3", CALL, None, "messages.1.tool_calls"),
        ("cohere2", CALL, None, "messages.1.tool_calls"),
        ("lfm2", CALL, None, "messages.1.tool_calls"),
        ("deepseek_r1_distill", CALL, None, "messages.1.tool_calls"),
        ("gptoss", [ASK, calls({"n": 4}, {"n": 5})], None, "messages.1.tool_calls.1"),
        ("llama3", [ASK, ANSWER], [ADD], "tools"),
        ("gemma3", [ASK, ANSWER], [ADD], "tools"),
        ("qwen2_5", DEVELOPER, None, "messages.0.content"),
        ("qwen3", DEVELOPER, None, "messages.0.content"),
        ("glm4moe", DEVELOPER, None, "messages.0.content"),
        ("phi3", [ASK, *TOOL_USE[2:]], None, "messages.1.content"),
        ("llama3_1", [ASK, calls({"n": 4}, content="I add")], None, "messages.1.content"),
        ("muse_glimmer", [ASK, calls({"n": 4}, content="I add")], None, "messages.1.content"),
        ("qwen2_5", REASONED, None, "messages.1.reasoning_content"),
        ("gemma3", REASONED, None, "messages.1.reasoning_content"),
        ("deepseekv3", TAGGED, None, "messages.1.content"),
        ("deepseek_r1_distill", TAGGED, None, "messages.1.content"),
        ("smolvlm", [ASK, ANSWER], None, "messages.0.content"),
    ],
)
def test_what_a_family_does_not_show_is_an_error_that_names_the_field(
    family: str, messages: list[dict[str, Any]], tools: Any, field: str
) -> None:
    tokenizer = family_tokenizer(family)
    with pytest.raises(DroppedByTemplate, match="on_dropped") as caught:
        encode(tokenizer, *messages, tools=tools)
    assert (caught.value.field, caught.value.code) == (field, "dropped_by_template")
    assert field in encode(tokenizer, *messages, tools=tools, on_dropped="warn").dropped


@pytest.mark.parametrize(
    ("family", "messages", "tools"),
    [
        ("qwen3", TOOL_USE, [ADD]),
        ("llama3_1", TOOL_USE, [ADD]),
        ("gemma4", TOOL_USE, [ADD]),
        ("gptoss", TOOL_USE, [ADD]),
        ("lfm2_2_5", TOOL_USE, [ADD]),
        ("qwen3", REASONED, None),
        ("qwen3", TAGGED, None),
        ("gptoss", REASONED, None),
        ("gemma3", [says("system", "be short"), ASK, ANSWER], None),
        ("deepseekv3", [ASK, says("assistant", "", tool_calls=CALL[1]["tool_calls"])], None),
    ],
)
def test_what_a_family_shows_is_not_called_dropped(family: str, messages: list[dict[str, Any]], tools: Any) -> None:
    assert encode(family_tokenizer(family), *messages, tools=tools).dropped == ()


def test_reasoning_of_earlier_turns_that_a_family_leaves_out_by_design_is_noted() -> None:
    earlier = [ASK, says("assistant", "8", reasoning_content="since so"), ASK, says("assistant", "<think>a</think>9")]
    tokenizer = family_tokenizer("qwen3")
    assert encode(tokenizer, *earlier).dropped == ("messages.1.reasoning_content",)
    assert encode(tokenizer, *TAGGED, *TAGGED).dropped == ("messages.1.content",)


def test_a_name_is_noted_and_what_a_nested_parameter_is_for_must_be_shown() -> None:
    nested = {"type": "object", "properties": {"x": {"type": "string", "description": "deep"}}}
    parameters = {"type": "object", "properties": {"o": nested}}
    tool = {"type": "function", "function": {"name": "add", "description": "adds", "parameters": parameters}}
    tokenizer = family_tokenizer("gptoss")
    assert encode(tokenizer, ASK | {"name": "bob"}, ANSWER, tools=[ADD]).dropped == ("messages.0.name",)
    with pytest.raises(DroppedByTemplate) as caught:
        encode(tokenizer, ASK, ANSWER, tools=[tool])
    assert caught.value.field == "tools.0.function.parameters"


def test_a_template_that_marks_its_turns_is_looked_at_too() -> None:
    with pytest.raises(DroppedByTemplate) as caught:
        encode(make_tokenizer(CHATML_WITH_GENERATION), *CALL)
    assert caught.value.field == "messages.1.tool_calls"


def test_every_line_with_a_dropped_part_is_listed_with_its_field(tmp_path: Path) -> None:
    rows = [{"messages": [ASK, ANSWER]}, {"messages": CALL}, {"messages": [ASK, ANSWER], "tools": [ADD]}]
    data = make_dataset(tmp_path / "rows.jsonl", rows)
    with pytest.raises(DataError) as caught:
        encode_training(TextEncoder(family_tokenizer("gemma3"), None), DataSpec(training=data))
    assert [(issue.line, issue.field, issue.code) for issue in caught.value.issues] == [
        (2, "messages.1.tool_calls", "dropped_by_template"),
        (3, "tools", "dropped_by_template"),
    ]


def test_a_job_that_trains_without_what_its_template_leaves_out_says_so_with_the_number_of_rows(
    tmp_path: Path, tiny_base: BaseSpec
) -> None:
    named = says("user", "add 4", name="bob")
    rows = [{"messages": [named, ANSWER]}, {"messages": [ASK, ANSWER]}, {"messages": [named, ANSWER, *CALL]}]
    data, valid = (make_dataset(tmp_path / f"{name}.jsonl", some) for name, some in (("t", rows), ("v", rows[:1])))
    spec = make_job_spec(tmp_path, tiny_base, training=data, validation=valid, n_epochs=1)
    spec = spec.model_copy(update={"data": spec.data.model_copy(update={"on_dropped": OnDropped.WARN})})
    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    host.attach(make_order(spec))
    reports = drain(host)
    assert outcome_of(reports, spec.job_id).exit_class is ExitClass.OK, outcome_of(reports, spec.job_id).message
    (prepared,) = of_job(reports, Prepared, spec.job_id)
    assert prepared.left_out == {"messages.*.name": 3, "messages.*.tool_calls": 1}
    told = [event.message for event in prepared_events(prepared, 0) if event.level == "warn"]
    assert told == [
        f"{count} row(s) are trained without {field}, which the base's chat template leaves out"
        for field, count in prepared.left_out.items()
    ]


def test_fields_that_tenants_name_are_told_bounded_and_as_any_database_can_store_them(tmp_path: Path) -> None:
    def tool(*fields: str) -> dict[str, Any]:
        function = ADD["function"] | {field: {"description": "how much"} for field in fields}  # type: ignore[operator]
        return {"type": "function", "function": function}

    odd = "a\x00\x1b[31m" + "k" * 3_000
    rows = [{"messages": [ASK, ANSWER], "tools": [tool(odd)]}]
    rows += [{"messages": [ASK, ANSWER], "tools": [tool(f"x{2 * n}", f"x{2 * n + 1}")]} for n in range(60)]
    data = DataSpec(training=make_dataset(tmp_path / "rows.jsonl", rows), on_dropped=OnDropped.WARN, max_seq_len=8_192)
    shown: list[PreviewRow] = []

    def show(read: ReadRow, tokens: Tokens) -> None:
        shown.append(show_row(family_tokenizer("gptoss"), read, tokens, 8_192))

    encoded = encode_file(TextEncoder(family_tokenizer("gptoss"), None, data), data, data.training, on_row=show)
    assert len(encoded.left_out) == MAX_LEFT_OUT + 1
    assert encoded.left_out[OTHER_FIELDS] == 60 - (MAX_LEFT_OUT - 1) // 2
    names = [*encoded.left_out, *shown[0].dropped]
    assert all(name.isprintable() and len(name) <= MAX_FIELD_CHARS for name in names)
    assert any("kkk" in name for name in shown[0].dropped)

"""Which tokens carry loss, per format and chat template."""

import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.builders.encoded import encode_training
from tests.builders.specs import make_dataset
from tests.builders.tiny_base import CHATML, CHATML_WITH_GENERATION, make_tokenizer
from workers.contract.errors import DataError
from workers.contract.rows import ChatRow, DatasetFormat, PromptCompletionRow, Row, TextRow
from workers.contract.spec import DataSpec, TrainingSpec
from workers.data.batches import BatchPlan, collate, epoch_order
from workers.data.encode import EncodedRow
from workers.data.text_encoder import TextEncoder
from workers.data.tokens import TemplateMismatch, Tokens
from workers.storage import file_sha256

TWO_TURNS = [
    {"role": "system", "content": "be short"},
    {"role": "user", "content": "one?"},
    {"role": "assistant", "content": "1"},
    {"role": "user", "content": "two?"},
    {"role": "assistant", "content": "2"},
]
REWRITING = (
    "{% for m in messages %}[{{ m['role'] }}{% if loop.last %}!{% endif %}]{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant!]{% endif %}"
)


def learned(tokenizer: Any, row: Row, template: str | None = None) -> str:
    """The text that carries loss, with a gap at each interruption."""
    ids, mask, _ = TextEncoder(tokenizer, template)(row)
    spans, open_span = [], False
    for token, counts in zip(ids, mask, strict=True):
        if counts and open_span:
            spans[-1].append(token)
        elif counts:
            spans.append([token])
        open_span = counts
    return "~".join(tokenizer.decode(span) for span in spans)


@pytest.mark.parametrize("template", [CHATML, CHATML_WITH_GENERATION])
def test_chat_learns_every_assistant_turn_with_its_end(template: str) -> None:
    row = ChatRow.model_validate({"messages": TWO_TURNS})
    assert learned(make_tokenizer(template), row) == "1<|im_end|>\n~2<|im_end|>\n"


@pytest.mark.parametrize("template", [CHATML, CHATML_WITH_GENERATION])
def test_a_message_of_weight_zero_carries_no_loss(template: str) -> None:
    messages = [dict(message) for message in TWO_TURNS]
    messages[2]["weight"] = 0  # type: ignore[assignment]
    row = ChatRow.model_validate({"messages": messages})
    assert learned(make_tokenizer(template), row) == "2<|im_end|>\n"


def test_the_catalogues_template_overrides_the_tokenizers() -> None:
    override = "{% for m in messages %}<{{ m['role'][0] }}>{{ m['content'] }}</>{% endfor %}" + (
        "{% if add_generation_prompt %}<a>{% endif %}"
    )
    row = ChatRow.model_validate({"messages": TWO_TURNS})
    assert learned(make_tokenizer(CHATML), row, override) == "1</>~2</>"


def test_rendered_tokens_equal_those_of_the_stock_template_call() -> None:
    tokenizer = make_tokenizer(CHATML)
    ids, _, _ = TextEncoder(tokenizer, None)(ChatRow.model_validate({"messages": TWO_TURNS}))
    assert ids == tokenizer.apply_chat_template(TWO_TURNS, return_dict=True)["input_ids"]


def test_tools_and_calls_reach_the_template() -> None:
    template = (
        "{% for t in tools or [] %}tool {{ t['function']['name'] }};{% endfor %}"
        "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}"
        "{% for c in m['tool_calls'] or [] %}{{ c['function']['name'] }}({{ c['function']['arguments']['n'] }})"
        "{% endfor %}</>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"n": 4}'}}
    row = ChatRow.model_validate(
        {
            "messages": [{"role": "user", "content": "go"}, {"role": "assistant", "tool_calls": [call]}],
            "tools": [{"type": "function", "function": {"name": "add"}}],
        }
    )
    tokenizer = make_tokenizer(template)
    ids, _, _ = TextEncoder(tokenizer, None)(row)
    assert tokenizer.decode(ids) == "tool add;<user>go</><assistant>add(4)</>"
    assert learned(tokenizer, row) == "add(4)</>"


def test_a_template_that_rewrites_earlier_turns_is_refused_not_guessed(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(REWRITING)
    with pytest.raises(TemplateMismatch, match="generation"):
        TextEncoder(tokenizer, None)(ChatRow.model_validate({"messages": TWO_TURNS}))
    data = make_dataset(tmp_path / "rows.jsonl", [{"messages": TWO_TURNS}, {"messages": TWO_TURNS}])
    with pytest.raises(DataError) as caught:
        encode_training(TextEncoder(tokenizer, None), DataSpec(training=data))
    assert [(issue.line, issue.code) for issue in caught.value.issues] == [(1, "chat_template"), (2, "chat_template")]


REFUSING = "{% if messages|length > 2 %}{{ raise_exception('two messages at most') }}{% endif %}"
ITERATING = (
    "{% for c in m['tool_calls'] or [] %}{{ c['function']['name'] }}"
    "{% for k, v in c['function']['arguments']|items %}{{ k }}{% endfor %}"
)
WRITING = "{% for c in m['tool_calls'] or [] %}{{ c['function']['arguments']|tojson }}"
COUNTING = "{% for c in m['tool_calls'] or [] %}{{ range(c['function']['arguments']) }}"


def template_with(part: str, *, marks: bool) -> str:
    """A template that does `part` for each message `m`, with the assistant's turns marked or not."""
    body = "{% generation %}{{ m['content'] }}{% endgeneration %}" if marks else "{{ m['content'] }}"
    return f"{{% for m in messages %}}<{{{{ m['role'] }}}}>{part}{body}{{% endfor %}}" + (
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )


def calling(arguments: str) -> dict[str, Any]:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": arguments}}
    return {
        "messages": [{"role": "user", "content": "go"}, {"role": "assistant", "content": "on", "tool_calls": [call]}]
    }


@pytest.mark.parametrize("marks", [False, True])
@pytest.mark.parametrize(
    ("template", "refused", "reason"),
    [
        (REFUSING, {"messages": TWO_TURNS}, "two messages at most"),
        (ITERATING + "{% endfor %}", calling("no JSON"), "mapping"),
        (WRITING + "{% endfor %}", calling("[" * 100_000 + "]" * 100_000), "nested too deeply"),
        (COUNTING + "{% endfor %}", calling("[]"), "integer"),
    ],
)
def test_a_row_that_the_template_refuses_is_listed_with_its_line_however_it_is_refused(
    tmp_path: Path, template: str, refused: dict[str, Any], reason: str, marks: bool
) -> None:
    tokenizer = make_tokenizer(template_with(template, marks=marks))
    fine = calling("{}") if refused == calling("no JSON") else {"messages": TWO_TURNS[1:3]}
    data = make_dataset(tmp_path / "rows.jsonl", [fine, refused, fine])
    with pytest.raises(DataError) as caught:
        encode_training(TextEncoder(tokenizer, None), DataSpec(training=data))
    (issue,) = caught.value.issues
    assert (issue.line, issue.field, issue.code) == (2, "messages", "chat_template")
    assert reason in issue.message


def test_without_any_chat_template_every_chat_row_is_listed(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "rows.jsonl", [{"messages": TWO_TURNS}, {"messages": TWO_TURNS}])
    with pytest.raises(DataError, match="the base has no chat template") as caught:
        encode_training(TextEncoder(make_tokenizer(None), None), DataSpec(training=data))
    assert [issue.line for issue in caught.value.issues] == [1, 2]


def test_a_line_nested_too_deeply_to_be_read_is_listed(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "rows.jsonl", [{"messages": TWO_TURNS}])
    deep = tmp_path / "deep.jsonl"
    deep.write_text((tmp_path / "rows.jsonl").read_text() + "[" * 100_000 + "\n")
    data = data.model_copy(update={"uri": deep.as_uri(), "sha256": file_sha256(deep)})
    with pytest.raises(DataError) as caught:
        encode_training(TextEncoder(make_tokenizer(), None), DataSpec(training=data))
    assert [(issue.line, issue.code) for issue in caught.value.issues] == [(2, "invalid_json")]


def test_prompt_completion_learns_the_completion_and_text_learns_all() -> None:
    tokenizer = make_tokenizer()
    assert learned(tokenizer, PromptCompletionRow(prompt="2+2=", completion="4")) == "4</s>"
    assert learned(tokenizer, TextRow(text="all of it")) == "all of it</s>"


def test_every_unreadable_line_is_reported_with_its_number(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "rows.jsonl", [{"text": "fine"}, {"txt": "typo"}, {"text": ""}], DatasetFormat.TEXT)
    with pytest.raises(DataError) as caught:
        encode_training(TextEncoder(make_tokenizer(), None), DataSpec(training=data))
    assert {issue.line for issue in caught.value.issues} == {2, 3}


def test_a_row_is_kept_in_five_bytes_a_token() -> None:
    row = EncodedRow.of(7, [200_000, 5, 6], [True, False, True])
    assert (row.line, list(row.input_ids), list(row.loss_weights)) == (7, [200_000, 5, 6], [1, 0, 1])
    assert row.supervised == 1, "the first token is never predicted"
    assert memoryview(row.input_ids).nbytes + memoryview(row.loss_weights).nbytes == 8 * 3


def test_reading_that_fails_amid_the_rows_leaves_no_copy_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    copies = []

    def encode(row: Row) -> Tokens:
        copies.append(len(list(scratch.iterdir())))
        if len(copies) == 3:
            raise MemoryError
        return TextEncoder(make_tokenizer(), None)(row)

    with pytest.raises(MemoryError):
        encode_training(encode, DataSpec(training=make_dataset(tmp_path / "rows.jsonl")))
    assert copies == [1, 1, 1]
    assert list(scratch.iterdir()) == []


def test_batches_pad_on_the_right_and_never_supervise_pads_or_the_first_token() -> None:
    rows = [EncodedRow.of(1, [5, 6, 7], [True, True, True]), EncodedRow.of(2, [8], [True])]
    batch = collate(rows, pad_id=0)
    assert batch.input_ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.loss_weights.tolist() == [[0, 1, 1], [0, 0, 0]]
    assert (batch.tokens, batch.supervised, batch.total_weight, batch.lines) == (4, 2, 2, (1, 2))


def test_the_order_of_rows_depends_on_seed_and_epoch_alone() -> None:
    order = epoch_order(20, seed=3, epoch=1)
    assert order == epoch_order(20, seed=3, epoch=1)
    assert sorted(order) == list(range(20))
    assert order != epoch_order(20, seed=3, epoch=2)
    assert order != epoch_order(20, seed=4, epoch=1)


def test_evaluation_sees_every_row_once() -> None:
    rows = [EncodedRow.of(line, [1] * (line % 4 + 2), [True] * (line % 4 + 2)) for line in range(1, 12)]
    batches = list(BatchPlan(rows, TrainingSpec(), 0, 0, collate).evaluation_batches(rows, 4))
    assert sorted(line for batch in batches for line in batch.lines) == list(range(1, 12))
    assert sum(batch.supervised for batch in batches) == sum(row.supervised for row in rows)

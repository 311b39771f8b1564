"""Options of a job that change how conversations become tokens, and weights of messages."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.builders.families import family_tokenizer
from tests.builders.tiny_base import CHATML, CHATML_WITH_GENERATION, make_tokenizer
from workers.contract.rows import ChatRow
from workers.contract.spec import SpecialTokens, TextOptions
from workers.data.chat.conversation import Conversation
from workers.data.chat.rendering import Rendering
from workers.data.chat.tokenizing import weights_of
from workers.data.plain_text import SpecialTokenText
from workers.data.text_encoder import TextEncoder

TALK = [
    {"role": "user", "content": "one?", "weight": 0},
    {"role": "assistant", "content": "first", "weight": 0.25},
    {"role": "user", "content": "two?"},
    {"role": "assistant", "content": "second", "weight": 1},
]


@pytest.mark.parametrize("template", [CHATML, CHATML_WITH_GENERATION])
def test_a_message_counts_for_its_weight_and_that_of_other_roles_means_nothing(template: str) -> None:
    tokenizer = make_tokenizer(template)
    ids, weights, _ = TextEncoder(tokenizer, None)(ChatRow.model_validate({"messages": TALK}))
    by_weight = {
        weight: tokenizer.decode([token for token, own in zip(ids, weights, strict=True) if own == weight])
        for weight in (0.25, 1.0)
    }
    assert by_weight == {0.25: "first<|im_end|>\n", 1.0: "second<|im_end|>\n"}
    assert set(weights) == {0.0, 0.25, 1.0}


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_weight_lies_between_nothing_and_one(weight: float) -> None:
    with pytest.raises(ValidationError) as caught:
        ChatRow.model_validate({"messages": [{"role": "assistant", "content": "a", "weight": weight}]})
    assert caught.value.errors()[0]["loc"] == ("messages", 0, "weight")


def test_arguments_reach_the_chat_template() -> None:
    row = ChatRow.model_validate(
        {"messages": [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": "A"}]}
    )
    tokenizer = family_tokenizer("llama3_2")
    options = TextOptions(chat_template_kwargs={"date_string": "1 May 1886"})
    ids, _, _ = TextEncoder(tokenizer, None, options)(row)
    assert ids == tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": "A"}],
        date_string="1 May 1886",
        return_dict=False,
    )
    assert "1 May 1886" in tokenizer.decode(ids)


@pytest.mark.parametrize("name", ["messages", "tools", "add_generation_prompt", "strftime_now", "no name", "bos_token"])
def test_what_the_service_gives_a_template_cannot_be_replaced(name: str) -> None:
    with pytest.raises(ValidationError, match="is no argument of a chat template that may be set"):
        TextOptions(chat_template_kwargs={name: "x"})


def test_a_row_of_four_thousand_messages_costs_one_rendering_and_its_turns_are_all_learned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokenizer, roles = make_tokenizer(CHATML), ("user", "assistant")
    rendered: list[int] = []
    plain = Rendering._rendered

    def counted(self: Rendering, template: str, conversation: Conversation, **options: bool) -> Any:
        rendered.append(len(conversation.messages))
        return plain(self, template, conversation, **options)

    monkeypatch.setattr(Rendering, "_rendered", counted)
    costs = []
    for count in (40, 4_000):
        rendered.clear()
        row = ChatRow.model_validate({"messages": [{"role": roles[n % 2], "content": "a"} for n in range(count)]})
        ids, weights, _ = TextEncoder(tokenizer, None)(row)
        learned = tokenizer.decode([token for token, weight in zip(ids, weights, strict=True) if weight])
        assert learned == "a<|im_end|>\n" * (count // 2)
        costs.append((rendered.count(count), len(rendered)))
    assert costs[0] == costs[1], "as many as a short row"
    assert costs[1][0] <= 2, "the row, and once its skeleton"


def test_no_token_carries_loss_of_an_empty_span() -> None:
    tokens = make_tokenizer(CHATML).backend_tokenizer.encode("abc")
    assert weights_of(tokens, "abc", [(1, 1, 1.0)]) == [0, 0, 0]


def test_a_control_token_in_the_name_of_a_parameter_is_refused_unless_asked_for() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"<|im_start|>": {}}}}}
    row = ChatRow.model_validate({"messages": TALK, "tools": [tool]})
    tokenizer = family_tokenizer("qwen2_5")
    with pytest.raises(SpecialTokenText, match="spells"):
        TextEncoder(tokenizer, None)(row)
    parsed = TextEncoder(tokenizer, None, TextOptions(special_tokens=SpecialTokens.PARSE))(row)
    assert parsed.ids.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == 1 + 1 + len(TALK)

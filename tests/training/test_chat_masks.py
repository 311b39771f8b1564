"""Which tokens of a conversation carry loss: its turns' own with their ends, on stock templates and on others."""

from datetime import date
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.builders.chat import ADD, calls, encode, learned, result, says
from tests.builders.families import family_tokenizer
from tests.builders.tiny_base import CHATML, make_tokenizer
from workers.contract.rows import ChatRow
from workers.data.backend import backend_of
from workers.data.chat import marked_twin, tokenizing
from workers.data.chat.conversation import Conversation
from workers.data.chat.rendering import Rendering
from workers.data.text_encoder import TextEncoder
from workers.data.tokens import TemplateMismatch

THREE = [says(role, f"{word} {n}") for n in range(3) for role, word in (("user", "what?"), ("assistant", "so"))]
TOOL_USE = [says("user", "add 4"), calls({"n": 4, "why": 'a "word"'}), result("it is 8"), says("assistant", "8")]
SCREAMING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{GENERATE}{{ m['content'] | upper }}<|im_end|>{END}\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def marked_by_library(tokenizer: Any, messages: list[dict[str, Any]], tools: Any) -> tuple[list[int], list[float]]:
    """Ids and mask as transformers gives them for the family's training template."""
    coded = tokenizer.apply_chat_template(
        messages,
        tools=tools,
        chat_template=marked_twin(tokenizer.chat_template),
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    return coded["input_ids"], [float(flag) for flag in coded["assistant_masks"]]


@pytest.mark.parametrize(
    "family", ["qwen2_5", "gemma", "gemma3", "llama3", "phi3", "cohere", "gptoss", "glm4moe", "deepseekv3", "lfm2"]
)
def test_a_familys_turns_are_those_of_its_marked_twin(family: str) -> None:
    tokenizer = family_tokenizer(family)
    assert encode(tokenizer, *THREE)[:2] == marked_by_library(tokenizer, THREE, None)


@pytest.mark.parametrize("family", ["qwen2_5", "qwen3_5_think", "gptoss", "glm4moe", "nemotron_3_nano", "lfm2_2_5"])
def test_a_familys_calls_are_those_of_its_marked_twin(family: str) -> None:
    tokenizer = family_tokenizer(family)
    messages = [dict(message) for message in TOOL_USE]
    function = {"name": "add", "arguments": {"n": 4, "why": 'a "word"'}}
    messages[1] |= {"content": "", "tool_calls": [messages[1]["tool_calls"][0] | {"function": function}]}
    assert encode(tokenizer, *TOOL_USE, tools=[ADD])[:2] == marked_by_library(tokenizer, messages, [ADD])


@pytest.mark.parametrize(
    ("family", "turns"),
    [
        ("qwen3", "so 0<|im_end|>\n~so 1<|im_end|>\n~<think>\n\n</think>\n\nso 2<|im_end|>\n"),
        ("qwen3_6", "so 0<|im_end|>\n~so 1<|im_end|>\n~<think>\n\n</think>\n\nso 2<|im_end|>\n"),
        ("llama3_2", "so 0<|eot_id|>~so 1<|eot_id|>~so 2<|eot_id|>"),
        ("gemma4", "so 0<turn|>\n~so 1<turn|>\n~so 2<turn|>\n"),
        ("phi3_5", "so 0<|end|>\n~so 1<|end|>\n~so 2<|end|>\n<|endoftext|>"),
    ],
)
def test_turns_that_a_template_rewrites_or_nobody_marks_are_found_where_they_are(family: str, turns: str) -> None:
    tokenizer = family_tokenizer(family)
    tokens = encode(tokenizer, *THREE)
    assert learned(tokenizer, tokens) == turns
    assert tokens.ids == tokenizer.apply_chat_template(THREE, return_dict=True)["input_ids"]


@pytest.mark.parametrize(
    ("family", "turns"),
    [
        ("llama3_1", '{"name": "add", "parameters": {"n": 4, "why": "a \\"word\\""}}<|eot_id|>~8<|eot_id|>'),
        (
            "qwen3",
            '<tool_call>\n{"name": "add", "arguments": {"n": 4, "why": "a \\"word\\""}}\n</tool_call><|im_end|>\n'
            "~<think>\n\n</think>\n\n8<|im_end|>\n",
        ),
        (
            "gemma4",
            '<|tool_call>call:add{n:4,why:<|"|>a "word"<|"|>}<tool_call|><|tool_response>~8<turn|>\n',
        ),
        (
            "lfm2_v2",
            "<|tool_call_start|>[add(n=4, why='a \"word\"')]<|tool_call_end|><|im_end|>\n~8<|im_end|>\n",
        ),
    ],
)  # fmt: skip
def test_calls_carry_loss_with_what_encloses_them_and_results_do_not(family: str, turns: str) -> None:
    tokenizer = family_tokenizer(family)
    assert learned(tokenizer, encode(tokenizer, *TOOL_USE, tools=[ADD])) == turns


def test_arguments_are_given_as_text_to_a_template_that_adds_them_to_a_string() -> None:
    tokenizer = family_tokenizer("deepseekv3")
    tokens = encode(tokenizer, *TOOL_USE)
    assert tokens.ids == tokenizer.apply_chat_template([says("user", "add 4"), TOOL_USE[1] | {"content": ""}, *TOOL_USE[2:]], return_dict=True)["input_ids"]  # noqa: E501 # fmt: skip
    assert '```json\n{"n": 4, "why": "a \\"word\\""}\n```' in learned(tokenizer, tokens)


@pytest.mark.parametrize(
    ("messages", "turns"),
    [
        ([says("user", "Is it on?"), says("assistant", "yes")], "\n<think></think>\nyes<|user|>"),
        (TOOL_USE[:2], '\n<think></think>\n<tool_call>add\n<arg_key>n</arg_key>\n<arg_value>4</arg_value>\n'
         '<arg_key>why</arg_key>\n<arg_value>a "word"</arg_value>\n</tool_call><|observation|>'),
    ],
)  # fmt: skip
def test_a_model_that_stops_by_the_next_turns_token_learns_to(messages: list[dict[str, Any]], turns: str) -> None:
    tokenizer = family_tokenizer("glm4moe")
    tokens = encode(tokenizer, *messages)
    assert learned(tokenizer, tokens) == turns
    plain = [messages[0], messages[1] | {"content": messages[1]["content"] or ""}]
    if "tool_calls" not in plain[1]:
        assert tokens.ids[:-1] == tokenizer.apply_chat_template(plain, return_dict=True)["input_ids"]


@pytest.mark.parametrize("family", ["qwen2_5", "qwen3", "llama3_1", "gemma4_v2", "glm4moe", "deepseekv3"])
def test_a_conversation_may_begin_with_the_assistant(family: str) -> None:
    tokenizer = family_tokenizer(family)
    first, *_ = learned(tokenizer, encode(tokenizer, says("assistant", "hello"), *THREE[:2])).split("~")
    assert "hello" in first
    assert "what?" not in first


@pytest.mark.parametrize("family", ["qwen2_5", "qwen3", "llama3_1", "gemma4_v2"])
def test_two_messages_of_the_assistant_in_a_row_are_two_turns(family: str) -> None:
    tokenizer = family_tokenizer(family)
    tokens = encode(tokenizer, *THREE[:2], says("assistant", "and more"))
    first, second = learned(tokenizer, tokens).split("~")
    assert "so 0" in first
    assert "and more" in second
    assert "assistant" not in first


def test_a_turn_without_a_stop_before_another_of_the_assistant_is_refused() -> None:
    with pytest.raises(TemplateMismatch, match="nothing ends it before another message"):
        encode(family_tokenizer("glm4moe"), *THREE[:2], says("assistant", "and more"))


@pytest.mark.parametrize("family", ["qwen2_5", "qwen3", "phi3", "llama3_1", "gemma4", "gptoss", "diffusion_gemma"])
def test_a_message_counts_for_its_weight_and_a_users_weight_means_nothing(family: str) -> None:
    tokenizer = family_tokenizer(family)
    alike = encode(tokenizer, *THREE)
    messages = [message | {"weight": (0, 0, 1, 0.25, 0.5, 1)[n]} for n, message in enumerate(THREE)]
    weighted = encode(tokenizer, *messages)
    assert weighted.ids == alike.ids
    turns: list[list[float]] = []
    before = 0.0
    for one, other in zip(alike.weights, weighted.weights, strict=True):
        if one and not before:
            turns.append([])
        if one:
            turns[-1].append(other)
        before = one
        assert one or not other
    assert [set(turn) for turn in turns] == [{0.0}, {0.25}, {1.0}]


@pytest.mark.parametrize("family", ["qwen2_5", "qwen3", "llama3_1", "gemma4", "phi3"])
def test_an_empty_answer_is_a_turn_that_only_ends(family: str) -> None:
    tokenizer = family_tokenizer(family)
    first, second = learned(tokenizer, encode(tokenizer, says("user", "q"), says("assistant", ""), *THREE[:2])).split(
        "~"
    )
    assert first.strip() in ("<|im_end|>", "<|eot_id|>", "<turn|>", "<|end|>")
    assert "so 0" in second


def spaced_tokenizer() -> PreTrainedTokenizerFast:
    """Its words begin with their space: ` yes` is one token."""
    merges = [("\u0120", "y"), ("\u0120y", "e"), ("\u0120ye", "s")]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<s>", "</s>", *alphabet, *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE(vocab={word: n for n, word in enumerate(words)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.chat_template = (
        "{% for m in messages %}{{ m['role'] | upper }}: {{ m['content'] }}{% if m['role'] == 'assistant' %}</s>"
        "{% else %}\n{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT: {% endif %}"
    )
    return fast


def test_a_word_that_shares_its_token_with_the_headers_last_space_carries_loss() -> None:
    tokenizer = spaced_tokenizer()
    tokens = encode(tokenizer, says("user", "Is it?"), says("assistant", "yes"), says("user", "yes"), says("assistant", "no"))  # noqa: E501 # fmt: skip
    assert learned(tokenizer, tokens) == " yes</s>~no</s>"


def test_a_stop_token_that_a_template_does_not_mark_is_learned_all_the_same() -> None:
    template = CHATML.replace(
        "{{ message['content'] }}",
        "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] }}{% endgeneration %}"
        "{% else %}{{ message['content'] }}{% endif %}",
    )
    tokenizer = make_tokenizer(template)
    assert learned(tokenizer, encode(tokenizer, *THREE[:4])) == "so 0<|im_end|>~so 1<|im_end|>"


def test_text_that_a_template_changes_is_learned_if_it_is_marked_and_refused_if_not() -> None:
    plain = make_tokenizer(SCREAMING.replace("{GENERATE}", "").replace("{END}", ""))
    with pytest.raises(TemplateMismatch, match="generation"):
        encode(plain, *THREE)
    tokenizer = make_tokenizer(
        SCREAMING.replace("{GENERATE}", "{% if m['role'] == 'assistant' %}{% generation %}").replace(
            "{END}", "{% endgeneration %}{% else %}{{ m['content'] | upper }}<|im_end|>{% endif %}"
        )
    )
    messages = [THREE[0], THREE[1] | {"weight": 0.5}, *THREE[2:4]]
    tokens = encode(tokenizer, *messages)
    assert learned(tokenizer, tokens) == "SO 0<|im_end|>~SO 1<|im_end|>"
    assert set(tokens.weights) == {0.0, 0.5, 1.0}


def test_a_special_token_that_takes_the_space_beside_it_gets_no_loss_of_the_answers() -> None:
    tokenizer = make_tokenizer(CHATML.replace("assistant\n", "assistant<|sep|>").replace("'] }}\n", "'] }}<|sep|>"))
    from tokenizers import AddedToken

    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", AddedToken("<|sep|>", rstrip=True, special=True, normalized=False)]})  # noqa: E501 # fmt: skip
    tokens = encode(tokenizer, says("user", "  q"), says("assistant", "  yes"))
    assert learned(tokenizer, tokens) == "yes<|im_end|>\n"


def test_the_day_that_a_template_prints_is_the_jobs() -> None:
    tokenizer = family_tokenizer("llama3_2")
    first, again = (encode(tokenizer, *THREE, created_on=date(2024, 2, 3)) for _ in range(2))
    assert first == again
    assert "Today Date: 03 Feb 2024" in tokenizer.decode(first.ids)
    assert encode(tokenizer, *THREE, created_on=date(2024, 2, 4)).ids != first.ids


def test_arguments_of_the_template_reach_it() -> None:
    tokenizer = family_tokenizer("glm4moe")
    arguments = {"enable_thinking": False}
    tokens = encode(tokenizer, *THREE, chat_template_kwargs=arguments)
    stock = tokenizer.apply_chat_template(THREE, return_dict=True, **arguments)["input_ids"]
    assert tokens.ids[: len(stock)] == stock
    assert "what? 0/nothink" in tokenizer.decode(tokens.ids)


def test_rows_of_one_structure_are_rendered_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[int] = []
    render = Rendering.text

    def counted(rendering: Rendering, conversation: Conversation, **options: Any) -> str:
        rendered.append(len(conversation.messages))
        return render(rendering, conversation, **options)

    monkeypatch.setattr(Rendering, "text", counted)
    encoder = TextEncoder(family_tokenizer("qwen3"), None)
    for number in range(10):
        called = [says("user", f"add {number}"), calls({"n": number, "why": f"it's {number}"}), result(f"{number}")]
        encoder(ChatRow.model_validate({"messages": [*called, says("assistant", f"\n{number}")], "tools": [ADD]}))
        if number == 0:
            rendered.clear()
    assert len(rendered) == 9


def test_lists_that_a_tokenizer_in_rust_copies_are_asked_for_once_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for at each turn they would make long conversations quadratic."""
    copied: list[str] = []

    class Counting:
        def __init__(self, encoding: Any) -> None:
            self._encoding = encoding

        def __len__(self) -> int:
            return len(self._encoding)

        def __getattr__(self, name: str) -> Any:
            copied.append(name)
            return getattr(self._encoding, name)

    class Backend:
        def __init__(self, backend: Any) -> None:
            self._backend = backend

        def encode(self, *arguments: Any, **options: Any) -> Counting:
            return Counting(self._backend.encode(*arguments, **options))

    monkeypatch.setattr(tokenizing, "backend_of", lambda *given, **options: Backend(backend_of(*given, **options)))
    messages = [says("user", "so"), says("assistant", "yes")] * 20
    tokens = encode(family_tokenizer("qwen3"), *messages)
    assert sum(tokens.weights) > 20
    assert max(map(copied.count, {"ids", "tokens", "offsets"})) == 1

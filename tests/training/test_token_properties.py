"""What holds of the tokens of every row, over tokenizers of every kind, for texts that nobody would think of."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tests.builders.tiny_base import CHATML
from tests.builders.tokenizers import CHAT_TOKENS, FAST, SLOW
from workers.contract.rows import ChatRow, PromptCompletionRow, TextRow
from workers.data.plain_text import SpecialTokenText
from workers.data.text_encoder import TextEncoder
from workers.data.tokens import TemplateMismatch, UnusableRow

few = settings(max_examples=max(settings.default.max_examples // 4, 1))  # all of them with HYPOTHESIS_PROFILE=thorough
kinds = pytest.mark.parametrize("kind", [*FAST, *SLOW])
fast_kinds = pytest.mark.parametrize("kind", list(FAST))

WORDS = ("Answer:", " yes", "yes", " ", "  ", "\n", "\n\n", "\t", "the", " the", "x", "=", ": ", "2 + 2", "I'm", "\r\n")
ODD = ("ü", "你好", "🙂", "👩‍👧", "e\u0301", "\u200b", "\u202e", "\x00", "\x7f", "\u00a0", "ﬁ", "İ", "Ġ", "Ċ")
SPECIAL = ("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<pad>", "<unk>", "<")
characters = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁\ufffd"), max_size=6)
pieces = st.one_of(st.sampled_from(WORDS), st.sampled_from(ODD), characters)


def joined(*parts: st.SearchStrategy[str], most: int = 8) -> st.SearchStrategy[str]:
    return st.lists(st.one_of(*parts), max_size=most).map("".join)


plain = joined(pieces)
wild = joined(pieces, st.sampled_from(SPECIAL))


def tokenizer_of(kind: str) -> Any:
    return (FAST | SLOW)[kind]()


def written_ends(tokenizer: Any, first: str, last: str) -> tuple[str, str]:
    """`first` and `last`, the two parts of a row, without a BOS at the beginning and an EOS at the end."""
    if tokenizer.bos_token and (first or last).startswith(tokenizer.bos_token):
        if first:
            first = first[len(tokenizer.bos_token) :]
        else:
            last = last[len(tokenizer.bos_token) :]
    stripped = last.rstrip("\r\n")
    if tokenizer.eos_token and stripped.endswith(tokenizer.eos_token):
        last = stripped[: -len(tokenizer.eos_token)]
    return first, last


def own_tokens(tokenizer: Any, ids: list[int]) -> list[int]:
    """Those of the text: without BOS and EOS, which are there once at most, first and last."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    assert ids.count(eos) == 1
    assert ids[-1] == eos
    if bos in ids:
        assert ids.count(bos) == 1
        assert ids[0] == bos
        return ids[1:-1]
    assert tokenizer("a")["input_ids"][0] != bos, "a tokenizer that adds BOS adds it to every row"
    return ids[:-1]


def decoded(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def given_back(kind: str, text: str) -> str:
    """What decoding gives of `text`. All tokenizers here are lossless but one: as in Llama's and T5's, a first space
    is the one that the first word is given anyway.
    """
    return text.removeprefix(" ") if kind == "SentencePiece unigram" else text


def encoded(tokenizer: Any, row: TextRow | PromptCompletionRow) -> tuple[list[int], list[float]]:
    """The row's tokens. A row may be refused for special tokens' text that a SentencePiece vocabulary cannot spell."""
    refused = None
    try:
        ids, weights, _ = TextEncoder(tokenizer, None)(row)
    except UnusableRow as error:
        refused = error
    if refused is not None:
        texts = [row.text] if isinstance(row, TextRow) else [row.prompt + row.completion]
        assert refused.code == "special_token_text"
        assert any(each in text for each in tokenizer.all_special_tokens for text in texts)
        assume(False)
    return ids, weights


@kinds
@few
@given(text=wild)
@example(text="<s>once</s>")
@example(text="<s><s>twice</s></s>\r\n\n")
@example(text="<s></s>")
@example(text="said </s> and <|im_start|>user")
@example(text=" yes")
def test_text_is_given_back_by_its_tokens_with_bos_and_eos_once(kind: str, text: str) -> None:
    assume(text)
    tokenizer = tokenizer_of(kind)
    ids, weights = encoded(tokenizer, TextRow(text=text))
    own = own_tokens(tokenizer, ids)
    assert not set(own) & set(tokenizer.all_special_ids), "special tokens' text is plain text"
    assert decoded(tokenizer, own) == given_back(kind, "".join(written_ends(tokenizer, "", text)))
    begins = len(ids) - len(own) - 1
    assert weights == [0.0] * begins + [1.0] * (len(own) + 1)


def wholly_before(decode: Callable[[list[int]], str], own: list[int], prompt: str) -> int:
    """How many tokens lie wholly in the prompt, counted one by one."""
    held = next(count for count in range(len(own) + 1) if decode(own[:count]).startswith(prompt))
    return held if decode(own[:held]) == prompt else held - 1


@kinds
@few
@given(prompt=wild, completion=wild)
@example(prompt="Answer:", completion=" yes")
@example(prompt="Answer: ", completion="yes")
@example(prompt="x=", completion=" ")
@example(prompt="x= ", completion=" 4")
@example(prompt="<s>a</s>", completion="b</s>\n")
@example(prompt="", completion="<s>all of it")
@example(prompt="<", completion="s>")
@example(prompt="🙂", completion="🙂")
@example(prompt="a", completion="</s>")
def test_prompt_and_completion_are_given_back_and_loss_is_on_the_completion_alone(
    kind: str, prompt: str, completion: str
) -> None:
    assume(completion)
    tokenizer = tokenizer_of(kind)
    ids, weights = encoded(tokenizer, PromptCompletionRow(prompt=prompt, completion=completion))
    own = own_tokens(tokenizer, ids)
    assert not set(own) & set(tokenizer.all_special_ids), "special tokens' text is plain text"
    asked, answer = written_ends(tokenizer, prompt, completion)
    assert decoded(tokenizer, own) == given_back(kind, asked + answer)
    before = wholly_before(lambda part: decoded(tokenizer, part), own, given_back(kind, asked))
    begins = len(ids) - len(own) - 1
    if not (kind == "SentencePiece unigram" and asked == " "):  # it has no token of its own there
        assert weights == [0.0] * (begins + before) + [1.0] * (len(own) - before + 1)


def conversation(contents: list[str]) -> ChatRow:
    roles = ("user", "assistant")
    return ChatRow.model_validate(
        {"messages": [{"role": roles[n % 2], "content": content} for n, content in enumerate(contents)]}
    )


def learned_parts(tokenizer: Any, ids: list[int], weights: list[float]) -> list[tuple[str, str]]:
    """Each run of tokens that carries loss: its text, and that of its first token."""
    parts, start = [], None
    for place in range(len(ids) + 1):
        learns = place < len(ids) and weights[place] > 0
        if learns and start is None:
            start = place
        elif not learns and start is not None:
            before = len(decoded(tokenizer, ids[:start]))
            first, text = (decoded(tokenizer, ids[:end])[before:] for end in (start + 1, place))
            parts.append((text, first))
            start = None
    return parts


turns = st.lists(joined(pieces, most=4), min_size=2, max_size=6).filter(lambda all_of_it: len(all_of_it) % 2 == 0)


@fast_kinds
@few
@given(contents=turns)
@example(contents=["2+2?", "4", "and?", "\n\n", "so?", ""])
@example(contents=["a", " yes ", "b", "🙂"])
def test_a_conversation_is_what_the_template_writes_and_loss_is_on_each_answer_and_its_stop(
    kind: str, contents: list[str]
) -> None:
    tokenizer = tokenizer_of(kind)
    row = conversation(contents)
    ids, weights, _ = TextEncoder(tokenizer, None)(row)
    messages = [{"role": each.role.value, "content": each.content} for each in row.messages]
    assert ids == tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]
    parts = learned_parts(tokenizer, ids, weights)
    assert len(parts) == len(contents) // 2
    for (text, first), answer in zip(parts, contents[1::2], strict=True):
        whole = answer + "<|im_end|>"
        assert text.removesuffix("\n").endswith(whole)
        header = text.removesuffix("\n").removesuffix(whole)
        assert not header or len(header) < len(first) or not answer, "of the header only what a token shares with it"


@fast_kinds
@few
@given(contents=st.lists(wild, min_size=2, max_size=4).filter(lambda all_of_it: len(all_of_it) % 2 == 0))
@example(contents=["<|im_end|>\n<|im_start|>assistant\nno", "yes"])
def test_no_content_opens_or_ends_a_turn(kind: str, contents: list[str]) -> None:
    tokenizer = tokenizer_of(kind)
    try:
        ids = TextEncoder(tokenizer, None)(conversation(contents)).ids
    except SpecialTokenText:  # its vocabulary has the token as a word, too: it can spell it in no other way
        assert kind == "SentencePiece unigram"
        return
    for token in tokenizer.convert_tokens_to_ids(list(CHAT_TOKENS)):
        assert ids.count(token) == len(contents)


@pytest.mark.parametrize("kind", list(SLOW))
def test_a_conversation_over_a_slow_tokenizer_is_refused_with_the_reason(kind: str) -> None:
    with pytest.raises(TemplateMismatch, match="use prompt/completion rows"):
        TextEncoder(tokenizer_of(kind), CHATML)(conversation(["a", "b"]))

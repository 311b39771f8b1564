"""Where BOS, EOS, prompt and completion begin and end, row by row: right values for rows that once came out wrong."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, normalizers, processors
from transformers import AutoTokenizer, GPT2Tokenizer, PreTrainedTokenizerFast

from tests.builders import tokenizers as kinds
from tests.builders.driving import drain, outcome_of
from tests.builders.encoded import encode_training
from tests.builders.specs import make_dataset, make_host_spec, make_job_spec, make_order
from tests.builders.tiny_base import make_tiny_base, make_tokenizer
from workers.contract.errors import DataError
from workers.contract.reports import ExitClass
from workers.contract.rows import DatasetFormat, PromptCompletionRow, Row, TextRow
from workers.contract.spec import DataSpec, SpecialTokens, TextOptions
from workers.data.text_encoder import TextEncoder
from workers.host import TrainingHost

PARSE = TextOptions(special_tokens=SpecialTokens.PARSE)


def split(tokenizer: Any, row: Row, options: TextOptions | None = None) -> tuple[list[str], list[str]]:
    """The row's tokens without loss, and those with it, which follow them."""
    ids, weights, _ = TextEncoder(tokenizer, None, options)(row)
    before = weights.count(0.0)
    assert weights == [0.0] * before + [1.0] * (len(ids) - before)
    texts = [tokenizer.decode([token]) for token in ids]
    return texts[:before], texts[before:]


def pair(prompt: str, completion: str) -> PromptCompletionRow:
    return PromptCompletionRow(prompt=prompt, completion=completion)


def around(begin: str, end: str) -> PreTrainedTokenizerFast:
    """One token a byte, and a post-processor that writes `begin` before a text and `end` after it."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["[gMASK]", "<sop>", "[SEP]"]})
    pieces = (begin + " $A " + end).split()
    specials = [(each, tokenizer.convert_tokens_to_ids(each)) for each in pieces if each != "$A"]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join(pieces), special_tokens=specials
    )
    return tokenizer


@pytest.mark.parametrize("scheme", ["first", "always"])
def test_a_sentencepiece_completion_keeps_its_one_space(scheme: str) -> None:
    tokenizer = kinds.sentencepiece_unigram(scheme)
    ids = TextEncoder(tokenizer, None)(pair("Answer:", " yes")).ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "Answer: yes"
    before, learned = split(tokenizer, pair("Answer:", "yes"))
    assert "".join(before).endswith(":")
    assert "".join(learned) == "yes</s>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one", ["o", "n", "e", "</s>"]),
        ("<s>one", ["<s>", "o", "n", "e", "</s>"]),
        ("one</s>", ["o", "n", "e", "</s>"]),
        ("<s>one</s>\r\n\n", ["<s>", "o", "n", "e", "</s>"]),
        ("one\n", ["o", "n", "e", "\n", "</s>"]),
        ("a</s>b", ["a", "<", "/", "s", ">", "b", "</s>"]),
        ("a<s>", ["a", "<", "s", ">", "</s>"]),
        ("<s></s>", ["<s>", "</s>"]),
        ("<s><s></s></s>", ["<s>", "<", "s", ">", "<", "/", "s", ">", "</s>"]),
    ],
)
def test_text_has_bos_where_it_is_written_and_eos_once(text: str, expected: list[str]) -> None:
    before, learned = split(make_tokenizer(), TextRow(text=text))
    assert before + learned == expected
    assert before == (["<s>"] if text.startswith("<s>") else []), "nobody predicts BOS"


@pytest.mark.parametrize(
    ("prompt", "completion", "before", "learned"),
    [
        ("ab", "c", "<s>ab", "c</s>"),
        ("<s>ab", "c", "<s>ab", "c</s>"),
        ("a</s>", "c", "<s>a</s>", "c</s>"),
        ("ab", "c</s>", "<s>ab", "c</s>"),
        ("ab", "c</s>\n", "<s>ab", "c</s>"),
        ("ab", "c\n", "<s>ab", "c\n</s>"),
        ("ab", "</s>", "<s>ab", "</s>"),
        ("", "<s>c", "<s>", "c</s>"),
        ("a", "<s>c", "<s>a", "<s>c</s>"),
    ],
)
@pytest.mark.parametrize("begin", ["", "<s>"])
@pytest.mark.parametrize("end", ["", "</s>"])
def test_bos_and_eos_are_there_once_whoever_writes_them(
    begin: str, end: str, prompt: str, completion: str, before: str, learned: str
) -> None:
    tokenizer = around(begin, end)
    bare = before if begin or "<s>" in prompt[:3] + completion[: 3 * (not prompt)] else before.removeprefix("<s>")
    asked, answered = split(tokenizer, pair(prompt, completion))
    assert ("".join(asked), "".join(answered)) == (bare, learned)
    ids = TextEncoder(tokenizer, None)(pair(prompt, completion)).ids
    assert ids.count(tokenizer.eos_token_id) == 1
    assert ids.count(tokenizer.bos_token_id) == bare.startswith("<s>"), "the others are plain text"


def test_a_beginning_of_several_tokens_is_there_once() -> None:
    tokenizer = around("[gMASK] <sop>", "[SEP]")
    for prompt in ("ab", "[gMASK]<sop>ab"):
        assert split(tokenizer, pair(prompt, "c")) == (["[gMASK]", "<sop>", "a", "b"], ["c", "[SEP]", "</s>"])
    assert split(tokenizer, TextRow(text="a"))[0] == ["[gMASK]", "<sop>"]
    assert split(tokenizer, TextRow(text="<s>a"))[0] == ["[gMASK]", "<sop>", "<s>"]


def test_one_token_may_be_bos_and_eos() -> None:
    tokenizer = make_tokenizer()
    tokenizer.bos_token = tokenizer.eos_token
    assert split(tokenizer, TextRow(text="</s>a</s>")) == (["</s>"], ["a", "</s>"])


def test_special_tokens_are_parsed_where_the_job_asks_for_it_and_the_ends_are_still_there_once() -> None:
    tokenizer = around("<s>", "")
    row = pair("<s><|im_start|>a</s>", "b<|im_end|></s>\n")
    assert split(tokenizer, row, PARSE) == (["<s>", "<|im_start|>", "a", "</s>"], ["b", "<|im_end|>", "</s>"])
    asked, answered = split(tokenizer, row)
    assert asked[:2] == ["<s>", "<"]
    assert answered[-2:] == [">", "</s>"]
    assert split(tokenizer, row, PARSE)[0][1] == "<|im_start|>", "the tokenizer is shared, the option is the job's own"


def test_added_tokens_that_are_not_special_are_the_vocabulary_of_a_base() -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<think>"])
    assert split(tokenizer, TextRow(text="<think>a")) == ([], ["<think>", "a", "</s>"])


@pytest.mark.parametrize(
    ("make", "prompt", "completion", "learned"),
    [
        (kinds.joining_bpe, "x=", " ", "= </s>"),  # "= " is a token, of whose span the tokenizer trims the space
        (kinds.byte_bpe, "x= ", " 4", " 4</s>"),
        (kinds.byte_bpe, "Answer:", " yes", " yes</s>"),
        (kinds.slow_bytes, "é", "ü", "ü</s>"),
        (kinds.slow_bytes, "a</s>", "b</s>\n", "b</s>"),
    ],
)
def test_the_completion_is_learned_wholly_and_nothing_before_it(
    make: Any, prompt: str, completion: str, learned: str
) -> None:
    tokenizer = make()
    ids, weights, _ = TextEncoder(tokenizer, None)(pair(prompt, completion))
    assert tokenizer.decode(ids[weights.count(0.0) :]) == learned


def test_a_token_that_holds_the_end_of_the_prompt_and_the_beginning_of_the_completion_is_learned() -> None:
    tokenizer = kinds.slow_greedy()
    assert split(tokenizer, pair("Q:", " yes")) == (["Q"], [": yes", "</s>"])
    fast = kinds.joining_bpe()
    word = next(each for each in fast.get_vocab() if len(each) > 3 and each.isascii() and each.isalpha())
    assert split(fast, pair(word[:1], word[1:])) == ([], [word, "</s>"])


def test_the_bytes_of_unknown_characters_are_the_prompts_and_the_completions_each() -> None:
    tokenizer = kinds.sentencepiece_unigram()
    ids, weights, _ = TextEncoder(tokenizer, None)(pair("🙂", "🙃"))
    assert tokenizer.decode(ids[weights.count(0.0) :], skip_special_tokens=True) == "🙃"


def test_a_completion_after_a_normalized_prompt_is_found_by_its_place() -> None:
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    assert split(tokenizer, pair("E\u0301 IS", " X")) == (["�", "�", " ", "i", "s"], [" ", "x", "</s>"])


def refused(tmp_path: Path, tokenizer: Any, row: dict[str, str]) -> Any:
    """The issue of the second of three rows."""
    format = DatasetFormat.TEXT if "text" in row else DatasetFormat.PROMPT_COMPLETION
    fine = {"text": "fine"} if "text" in row else {"prompt": "fine", "completion": "fine"}
    data = make_dataset(tmp_path / "rows.jsonl", [fine, row, fine], format)
    with pytest.raises(DataError) as caught:
        encode_training(TextEncoder(tokenizer, None), DataSpec(training=data))
    (issue,) = caught.value.issues
    assert issue.line == 2
    return issue


@pytest.mark.parametrize("row", [{"text": "see </s> there"}, {"prompt": "see </s>", "completion": "there"}])
def test_a_vocabulary_that_cannot_spell_a_special_token_is_refused_with_line_and_token(
    tmp_path: Path, row: dict[str, str]
) -> None:
    issue = refused(tmp_path, kinds.sentencepiece_unigram(), row)
    assert issue.code == "special_token_text"
    assert issue.field == ("text" if "text" in row else None)
    assert "'</s>'" in issue.message
    tokenizer = kinds.sentencepiece_unigram()
    ids, _, _ = TextEncoder(tokenizer, None, PARSE)(TextRow(text="see </s> there"))
    assert ids.count(tokenizer.eos_token_id) == 2


def test_a_slow_tokenizer_finds_its_own_added_tokens_where_no_special_one_is_spelled() -> None:
    tokenizer = kinds.GreedyTokenizer(bos_token="<s>", eos_token="</s>")
    tokenizer.add_tokens([AddedToken("<think>", special=False)])
    assert split(tokenizer, pair("<think>", "a")) == (["<think>"], ["a", "</s>"])
    assert split(tokenizer, TextRow(text="a<s>")) == ([], ["a", "<", "s", ">", "</s>"])


class LowerCase(kinds.GreedyTokenizer):
    """Does not give text back as it was."""

    def prepare_for_tokenization(self, text: str, **options: Any) -> tuple[str, dict[str, Any]]:
        return text.lower(), {}


def test_without_decoding_the_prompts_own_tokens_prove_where_it_ends_or_the_row_is_refused(tmp_path: Path) -> None:
    tokenizer = LowerCase(eos_token="</s>")
    assert split(tokenizer, pair("Ab", "C")) == (["a", "b"], ["c", "</s>"])
    issue = refused(tmp_path, tokenizer, {"prompt": "Q:", "completion": " YES"})
    assert (issue.field, issue.code) == ("completion", "boundary")
    assert "use a base with a fast tokenizer" in issue.message


def test_a_completion_that_the_tokenizer_drops_is_refused(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Strip()
    issue = refused(tmp_path, tokenizer, {"prompt": "a", "completion": "  "})
    assert (issue.field, issue.code) == ("completion", "no_trainable_tokens")


def test_a_truncation_in_the_tokenizers_file_cuts_no_row() -> None:
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(2)
    tokenizer.backend_tokenizer.enable_padding(length=9)
    assert split(tokenizer, pair("abc", "def")) == (["a", "b", "c"], ["d", "e", "f", "</s>"])


def test_gpt2s_own_class_is_served_too() -> None:
    tokenizer = GPT2Tokenizer(vocab={"<|endoftext|>": 0, "a": 1, "Ġ": 2, "b": 3, "Ġb": 4}, merges=[("Ġ", "b")])
    assert split(tokenizer, pair("a", " b")) == (["a"], [" b", "<|endoftext|>"])


def test_a_job_over_a_slow_tokenizer_trains_on_prompts_and_completions_and_its_adapter_holds_the_tokenizer(
    tmp_path: Path,
) -> None:
    base = make_tiny_base(tmp_path / "base")
    (tmp_path / "base" / "tokenizer.json").unlink()
    kinds.slow_bytes().save_pretrained(tmp_path / "base")
    rows = [{"prompt": f"after {n}?", "completion": f" {n + 1}</s>"} for n in range(4)]
    data = make_dataset(tmp_path / "rows.jsonl", rows, DatasetFormat.PROMPT_COMPLETION)
    host = TrainingHost(make_host_spec(tmp_path, base))
    host.attach(make_order(make_job_spec(tmp_path, base, training=data)))
    outcome = outcome_of(drain(host), "ftjob-1")
    assert outcome.exit_class is ExitClass.OK, outcome.message
    assert outcome.adapter is not None
    folder = Path(outcome.adapter.uri.removeprefix("file://")) / "components" / "tokenizer"
    assert AutoTokenizer.from_pretrained(folder)("a</s>")["input_ids"] == [ord("a") + 3, 1]

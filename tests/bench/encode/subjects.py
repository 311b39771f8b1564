"""What is encoded: English rows, over a tokenizer trained on English, made on the spot."""

import random
from collections.abc import Iterator
from functools import cache
from pydoc_data.topics import topics
from typing import Any, Final

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.builders.tiny_base import CHATML, CHATML_WITH_GENERATION
from tests.builders.tokenizers import CL100K

VOCABULARY: Final = 8_192
WORDS_A_MESSAGE: Final = 40
TURNS: Final = 3
SPECIALS: Final = ["<pad>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>"]


def templates() -> dict[str, str]:
    """One without marks of what is generated, one with, and the stock one of Gemma 3, which has none either."""
    from trl.chat_template_utils import gemma3_chat_template  # takes seconds and memory, which others are measured by

    return {"chatml": CHATML, "chatml_marked": CHATML_WITH_GENERATION, "gemma3": gemma3_chat_template}


@cache
def bench_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE over the words of cl100k, trained on the manual of Python."""
    tokenizer = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(CL100K), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(topics.values(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        additional_special_tokens=SPECIALS[3:],
    )


def chat_rows(seed: int = 0) -> Iterator[dict[str, Any]]:
    """Conversations of three questions and answers, without end."""
    roles = ("user", "assistant") * TURNS
    for texts in _groups(len(roles), seed):
        yield {"messages": [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]}


def pair_rows(seed: int = 0) -> Iterator[dict[str, Any]]:
    """Prompts and completions as long as those conversations, without end."""
    for texts in _groups(2 * TURNS, seed):
        yield {"prompt": "\n".join(texts[:TURNS]), "completion": "\n" + "\n".join(texts[TURNS:])}


def text_rows(seed: int = 0) -> Iterator[dict[str, Any]]:
    """Texts as long as those conversations, without end."""
    return ({"text": "\n".join(texts)} for texts in _groups(2 * TURNS, seed))


def long_row(messages: int) -> dict[str, Any]:
    """One conversation of short messages: what grows is their number."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[number % 2], "content": "yes"} for number in range(messages)]}


def _groups(size: int, seed: int) -> Iterator[list[str]]:
    words = " ".join(topics.values()).split()
    choose = random.Random(seed)
    while True:
        starts = (choose.randrange(len(words) - WORDS_A_MESSAGE) for _ in range(size))
        yield [" ".join(words[start : start + WORDS_A_MESSAGE]) for start in starts]

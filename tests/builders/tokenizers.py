"""Tokenizers of the kinds that bases have, made on the spot: real code over small vocabularies. No download."""

import io
from functools import cache
from typing import Any

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizer, PreTrainedTokenizerFast

from tests.builders.tiny_base import CHATML

CHAT_TOKENS = ("<|im_start|>", "<|im_end|>")
CORPUS = (
    *(
        "Question: what is the answer?\nAnswer: yes, it is the one.",
        "user\nassistant\nsystem\n2 + 2 = 4; 10 x 10 = 100",
    ),
    *("def add(a, b):\n    return a + b\n", "The quick brown fox jumps over the lazy dog.  Two spaces.\n\nTwo lines."),
    *("Grüße aus Köln, très bien, добрый день, 你好世界", "I'm sure they're here; it's what we've said, isn't it?"),
)
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How cl100k_base, Llama 3 and Qwen split text into words."""


@cache
def byte_bpe() -> PreTrainedTokenizerFast:
    """Byte-level BPE as GPT-2's, its spaces trimmed from offsets, with a BOS that it adds, as Llama 3's."""
    tokenizer = _bytes(pre_tokenizers.ByteLevel(add_prefix_space=False), ["<s>", "</s>", *CHAT_TOKENS])
    begin = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), begin])
    return _fast(tokenizer, bos_token="<s>", eos_token="</s>")


@cache
def joining_bpe() -> PreTrainedTokenizerFast:
    """Byte-level BPE that does not split text into words, so tokens reach over any boundary; trims offsets."""
    tokenizer = _bytes(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), ["</s>", *CHAT_TOKENS])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return _fast(tokenizer, eos_token="</s>")


@cache
def tiktoken_like() -> PreTrainedTokenizerFast:
    """Words of cl100k, bytes, neither unknown token nor BOS."""
    words = pre_tokenizers.Split(Regex(CL100K), behavior="isolated")
    split = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer = _bytes(split, ["<|endoftext|>", *CHAT_TOKENS])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return _fast(tokenizer, eos_token="<|endoftext|>")


@cache
def sentencepiece_unigram(scheme: str = "first") -> PreTrainedTokenizerFast:
    """A unigram model of the `sentencepiece` package with byte fallback, as transformers converts it: a word's space is
    part of it, and the first word is given one. It adds BOS, and EOS too. `scheme`: of `Metaspace`.
    """
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 4),
        model_writer=written,
        model_type="unigram",
        vocab_size=420,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    trained = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    pieces = [(trained.id_to_piece(number), trained.get_score(number)) for number in range(trained.get_piece_size())]
    tokenizer = Tokenizer(models.Unigram(pieces, trained.unk_id(), byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(
        [AddedToken(each, normalized=False) for each in ("<unk>", "<s>", "</s>", *CHAT_TOKENS)]
    )
    ends = [(each, tokenizer.token_to_id(each)) for each in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return _fast(tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@cache
def slow_bytes() -> PreTrainedTokenizer:
    """One token a byte, in Python; it adds EOS."""
    return ByT5Tokenizer(chat_template=CHATML)


class GreedyTokenizer(PreTrainedTokenizer):
    """In Python: the longest known piece at each place, else bytes. Pieces reach over words and lines."""

    PIECES = (": yes", ": ", "er:", "?\n", "\nA", "yes", " the", "an", "s ", "ü", "x\n", "  ")

    def __init__(self, **options: Any) -> None:
        self._names = [*(f"<0x{byte:02X}>" for byte in range(256)), *self.PIECES]
        self._numbers = {name: number for number, name in enumerate(self._names)}
        super().__init__(**options)

    @property
    def vocab_size(self) -> int:
        return len(self._names)

    def get_vocab(self) -> dict[str, int]:
        return self._numbers | self.added_tokens_encoder

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        tokens, place = [], 0
        while place < len(text):
            known = max((each for each in self.PIECES if text.startswith(each, place)), key=len, default=None)
            tokens += [known] if known else [f"<0x{byte:02X}>" for byte in text[place].encode()]
            place += len(known or " ")
        return tokens

    def _convert_token_to_id(self, token: str) -> int:
        return self._numbers[token]

    def _convert_id_to_token(self, index: int) -> str:
        return self._names[index]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        pieces = (
            bytes([self._numbers[each]]) if self._numbers.get(each, 256) < 256 else each.encode() for each in tokens
        )
        return b"".join(pieces).decode(errors="replace")


@cache
def slow_greedy() -> PreTrainedTokenizer:
    """Longest pieces, in Python, with BOS and EOS that it does not add."""
    return GreedyTokenizer(bos_token="<s>", eos_token="</s>", additional_special_tokens=list(CHAT_TOKENS))


FAST = {
    "byte BPE": byte_bpe,
    "BPE without words": joining_bpe,
    "SentencePiece unigram": sentencepiece_unigram,
    "tiktoken": tiktoken_like,
}
SLOW = {"slow bytes": slow_bytes, "slow greedy": slow_greedy}


def _bytes(split: Any, specials: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    return tokenizer


def _fast(tokenizer: Tokenizer, **names: str) -> PreTrainedTokenizerFast:
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, additional_special_tokens=list(CHAT_TOKENS), **names)
    fast.chat_template = CHATML
    return fast

"""Model families as the installed `trl` knows them: chat template, training template, and a tokenizer of their kind.

Templates are read as files: importing `trl` would take seconds and bring torch along.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AddedToken, PreTrainedTokenizerFast

PARTS_ONLY: Final = frozenset({"idefics3", "llava_next", "smolvlm"})
"""Families of images whose templates read content as a list of parts: a text of theirs is no string."""

_MARKED: Final = re.compile(r"\{%-?\s*generation\s*-?%\}")
_SPECIAL: Final = re.compile(
    r"<\|[^<>|\s]{1,40}\|?>"  # <|im_start|>, <|turn>
    r"|<[a-z_]{1,40}\|>"  # <turn|>
    r"|<\uff5c[^<>\uff5c\s]{1,40}\uff5c>"  # DeepSeek's, between wide bars
    r"|<(?:start|end)_of_turn>|<end_of_utterance>|\[gMASK\]|<sop>"
    r"|<(?:BOS_TOKEN|bos|s)>"
)
_ADDED: Final = re.compile(r"</?(?:think|tool_call|tool_response)>")  # one token each, but ordinary text

# Beginning and end of a text, as the family's tokenizer names them; the longest prefix of the name counts.
_ENDS: Final[dict[str, tuple[str | None, str]]] = {
    "cohere": ("<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>"),
    "deepseek": ("<\uff5cbegin▁of▁sentence\uff5c>", "<\uff5cend▁of▁sentence\uff5c>"),
    "diffusion_gemma": ("<bos>", "<eos>"),
    "gemma": ("<bos>", "<eos>"),
    "glm4moe": (None, "<|endoftext|>"),
    "gptoss": ("<|startoftext|>", "<|return|>"),
    "idefics3": ("<|begin_of_text|>", "<|end_of_text|>"),
    "lfm2": ("<|startoftext|>", "<|im_end|>"),
    "llama3": ("<|begin_of_text|>", "<|eot_id|>"),
    "llava_next": ("<s>", "</s>"),
    "muse_glimmer": ("<|begin_of_text|>", "<|eot|>"),
    "nemotron": ("<s>", "<|im_end|>"),
    "phi3": ("<s>", "<|endoftext|>"),
    "qwen": (None, "<|im_end|>"),
    "smolvlm": ("<|im_start|>", "<end_of_utterance>"),
}


@dataclass(frozen=True)
class Family:
    """A chat template as its model ships it, and what `trl` trains it with."""

    name: str
    stock: str
    training: str | None
    """The template that marks the assistant's turns: trl's, or `stock` where it marks them itself."""
    bos: str | None
    eos: str

    @property
    def specials(self) -> tuple[str, ...]:
        """The control tokens that the template can print, in a stable order."""
        ends = [token for token in (self.bos, self.eos) if token]
        return tuple(dict.fromkeys([*ends, *_SPECIAL.findall(self.stock)]))

    @property
    def added(self) -> tuple[str, ...]:
        """Tags that such tokenizers hold as one token without making them control tokens."""
        return tuple(dict.fromkeys(_ADDED.findall(self.stock)))


@cache
def families() -> dict[str, Family]:
    """Every family of the installed `trl`, by name."""
    spec = find_spec("trl")
    assert spec is not None, "trl is a dependency of the tests"
    folder = Path(str(spec.origin)).parent / "chat_templates"
    texts = {file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.jinja"))}
    return {name: _family(name, texts) for name in texts if not name.endswith("_training")}


def _family(name: str, texts: dict[str, str]) -> Family:
    training = texts.get(f"{name}_training")
    if training is None and _MARKED.search(texts[name]):
        training = texts[name]
    bos, eos = _ENDS[max((prefix for prefix in _ENDS if name.startswith(prefix)), key=len)]
    return Family(name, texts[name], training, bos, eos)


@cache
def family_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """A small byte-level BPE tokenizer with the family's control tokens and chat template; made once a process."""
    family = families()[name]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained()),
        pad_token="<pad>",
        bos_token=family.bos,
        eos_token=family.eos,
        additional_special_tokens=[token for token in family.specials if token not in (family.bos, family.eos)],
    )
    fast.add_tokens([AddedToken(tag, normalized=False) for tag in family.added])
    fast.chat_template = family.stock
    return fast


@cache
def _trained() -> str:
    """BPE merges learned from the templates' own prose, so that tokens span words, spaces and line ends.

    Without their control tokens: as in real vocabularies, no merges lead to one.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1_200,
        min_frequency=2,
        special_tokens=["<pad>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((_SPECIAL.sub("\n", family.stock) for family in families().values()), trainer)
    return tokenizer.to_str()

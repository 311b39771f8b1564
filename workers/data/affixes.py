"""What stands around a text: BOS once and EOS once, whether they come from the tokenizer or are written in the text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

PROBE: Final = "a"
_LINE_BREAKS: Final = "\r\n"


class Opened(NamedTuple):
    """A text without the BOS at its beginning."""

    text: str
    ids: tuple[int, ...]
    """What stands before the text's own tokens."""


@dataclass(frozen=True)
class Affixes:
    """The tokens that a tokenizer puts around a text, and the text of those that tenants write themselves."""

    begin: tuple[int, ...]
    """The tokenizer's own beginning, for example BOS; often empty."""
    end: tuple[int, ...]
    """What ends a row: the tokenizer's own end, with EOS in it once if there is an EOS at all."""
    openings: tuple[tuple[str, tuple[int, ...]], ...]
    """Each text that stands for the beginning where a row begins with it, and the tokens that it then begins with."""
    closing: str | None
    """The text of EOS."""

    @classmethod
    def of(cls, tokenizer: Any) -> "Affixes":
        """Found by encoding a letter with and without them. Raises: ValueError."""
        begin, end = _around(tokenizer)
        eos, bos = tokenizer.eos_token_id, tokenizer.bos_token_id
        openings = [("".join(tokenizer.convert_ids_to_tokens(list(begin))), begin)] if begin else []
        if bos is not None:
            openings.append((tokenizer.bos_token, begin if bos in begin else (*begin, bos)))
        ending = end if eos is None or eos in end else (*end, eos)
        return cls(begin, ending, tuple(openings), None if eos is None else tokenizer.eos_token)

    def open(self, text: str) -> Opened:
        """`text` without the BOS that it begins with, and the tokens that begin the row."""
        for written, ids in self.openings:
            if text.startswith(written):
                return Opened(text.removeprefix(written), ids)
        return Opened(text, self.begin)

    def close(self, text: str) -> str:
        """`text` without the EOS that it ends in, and without the line breaks behind that: a model stops at EOS and
        never writes them. Line breaks without EOS are the tenant's text.
        """
        if self.closing is None:
            return text
        ended = text.rstrip(_LINE_BREAKS)
        return ended.removesuffix(self.closing) if ended.endswith(self.closing) else text


def _around(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    bare = list(tokenizer(PROBE, add_special_tokens=False)["input_ids"])
    whole = list(tokenizer(PROBE)["input_ids"])
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return tuple(_ints(whole[:start])), tuple(_ints(whole[start + len(bare) :]))
    raise ValueError(f"{type(tokenizer).__name__} changes a text's own tokens where it adds special ones")


def _ints(ids: Sequence[Any]) -> list[int]:
    return [int(token) for token in ids]

"""The text of each token of a row."""

from collections.abc import Sequence
from typing import Any, Final

_WINDOW: Final = 8
"""Tokens decoded before a new one, so that it is decoded as it stands: some tokenizers cut a space at the beginning."""
UNFINISHED: Final = "�"
"""What a part of a character decodes to."""
_BYTES: Final = 4
"""Of a character, at most. What is still unfinished after so many tokens is no character."""


def pieces(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The text that each of `ids` [T] adds. Of a character that takes several tokens, the last has all of it."""
    texts: list[str] = []
    first = told = 0  # the window begins at `first`; everything before `told` has its text
    for end in range(1, len(ids) + 1):
        before = _decode(tokenizer, ids[first:told])
        text = _decode(tokenizer, ids[first:end])
        if text.endswith(UNFINISHED) and end < len(ids) and end - told < _BYTES:
            texts.append("")
            continue
        texts.append(text[len(before) :] if text.startswith(before) else _decode(tokenizer, ids[told:end]))
        told, first = end, max(first, end - _WINDOW)
    return texts


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

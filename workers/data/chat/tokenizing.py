"""Rendered text to tokens, with the weight of each; what tenants typed makes no control tokens."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Any, Final

from workers.contract.spec import SpecialTokens
from workers.data.chat.rendering import Span
from workers.data.plain_text import SpecialTokenText

Weighted = tuple[int, int, float]
"""Characters of a text, and what predicting each of their tokens counts for."""
_BEFORE: Final = "\n"
"""A piece is encoded behind it, or SentencePiece would begin it with a space."""


class Tokenizing:
    """By a tokenizer in Rust, which knows where each token stands in the text."""

    def __init__(self, tokenizer: Any, special_tokens: SpecialTokens) -> None:
        self._backend = tokenizer.backend_tokenizer
        added = tokenizer.added_tokens_decoder.values()
        texts = {token.content for token in added if token.special} | set(tokenizer.all_special_tokens)
        self.special_tokens: Final = sorted(filter(None, texts), key=len, reverse=True)
        self._plain = special_tokens is SpecialTokens.PLAIN
        self._typed = re.compile("|".join(map(re.escape, self.special_tokens)) or "(?!)")

    @property
    def plain(self) -> list[str]:
        """Control tokens that are no more than text where a tenant writes them."""
        return self.special_tokens if self._plain else []

    def spells_special_tokens(self, values: Iterable[object]) -> bool:
        """Whether one of the tenant's texts has to be kept from becoming a control token."""
        return self._plain and any(isinstance(value, str) and self._typed.search(value) for value in values)

    def tokens(self, text: str, plain: Sequence[Span]) -> tuple[list[int], list[Span]]:
        """Ids [T] and places [T]. Within `plain`, control tokens are the characters they are spelled with.

        Raises: SpecialTokenText.
        """
        typed = [found.span() for start, end in plain for found in self._typed.finditer(text, start, end)]
        if not typed:
            return self._encoded(text)
        ids: list[int] = []
        places: list[Span] = []
        done = 0
        for start, end in [*typed, (len(text), len(text))]:
            for piece, first, as_text in ((text[done:start], done, False), (text[start:end], start, True)):
                own, where = self._piece(piece, as_text, at_the_start=first == 0)
                ids += own
                places += [(first + one, first + other) for one, other in where]
            done = end
        return ids, places

    def _piece(self, piece: str, as_text: bool, at_the_start: bool) -> tuple[list[int], list[Span]]:
        if not piece:
            return [], []
        ids, places = self._encoded(piece, as_text)
        if not at_the_start:
            lead, _ = self._encoded(_BEFORE)
            behind, where = self._encoded(_BEFORE + piece, as_text)
            if behind[: len(lead)] == lead:
                ids, places = behind[len(lead) :], [(max(0, a - 1), max(0, b - 1)) for a, b in where[len(lead) :]]
        if as_text and self._backend.token_to_id(piece) in ids:
            raise SpecialTokenText(
                f"the text spells {piece!r}, and the base's tokenizer makes the control token of it in any text; leave "
                'it out, or set special_tokens to "parse" if the token is meant'
            )
        return ids, places

    def _encoded(self, text: str, as_text: bool = False) -> tuple[list[int], list[Span]]:
        if self._backend.encode_special_tokens != as_text:
            self._backend.encode_special_tokens = as_text
        if self._backend.truncation is not None:
            self._backend.no_truncation()
        if self._backend.padding is not None:
            self._backend.no_padding()
        encoded = self._backend.encode(text, add_special_tokens=False)
        return encoded.ids, encoded.offsets


def weights_of(places: Sequence[Span], spans: Sequence[Weighted]) -> list[float]:
    """[T] the weight of each token: it has that of a span if it holds one of its characters, or stands within it."""
    weights = [0.0] * len(places)
    starts, ends = zip(*places, strict=True) if places else ((), ())
    for start, end, weight in spans:
        if start < end:
            first, behind = bisect_right(ends, start), bisect_left(starts, end)
            weights[first:behind] = [weight] * max(behind - first, 0)
    return weights

"""Rendered text to tokens, with the weight of each; what tenants typed makes no control tokens."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from typing import Any, Final

from workers.contract.spec import SpecialTokens
from workers.data.backend import backend_of, special_tokens_of
from workers.data.boundary import TokenSpans, by_offsets
from workers.data.chat.rendering import Span
from workers.data.plain_text import SpecialTokenText

Weighted = tuple[int, int, float]
"""Characters of a text, and what predicting each of their tokens counts for."""
_BEFORE: Final = "\n"
"""A piece is encoded behind it, or SentencePiece would begin it with a space."""


class Tokenizing:
    """By a tokenizer in Rust, which knows where each token stands in the text."""

    def __init__(self, tokenizer: Any, special_tokens: SpecialTokens) -> None:
        self._tokenizer = tokenizer
        specials = special_tokens_of(tokenizer)
        self.special_ids: Final = frozenset(specials)
        self.special_tokens: Final = sorted(filter(None, set(specials.values())), key=len, reverse=True)
        self._plain = special_tokens is SpecialTokens.PLAIN
        self._typed = re.compile("|".join(map(re.escape, self.special_tokens)) or "(?!)")

    @property
    def plain(self) -> list[str]:
        """Control tokens that are no more than text where a tenant writes them."""
        return self.special_tokens if self._plain else []

    def spells_special_tokens(self, values: Iterable[object]) -> bool:
        """Whether one of the tenant's texts has to be kept from becoming a control token."""
        return self._plain and any(isinstance(value, str) and self._typed.search(value) for value in values)

    def require_plain(self, names: str) -> None:
        """Raises: SpecialTokenText, if names, keys or types of a row, which have no place of their own, spell one."""
        if self._plain and (found := self._typed.search(names)):
            raise SpecialTokenText(
                f"a name, a key or a type in the row's tools or calls spells {found[0]!r}; leave it out, or set "
                'special_tokens to "parse" if the token is meant'
            )

    def tokens(self, text: str, plain: Sequence[Span]) -> TokenSpans:
        """The tokens of `text` and where they stand. Within `plain`, control tokens are the characters of their names.

        Raises: SpecialTokenText.
        """
        typed = [found.span() for start, end in plain for found in self._typed.finditer(text, start, end)]
        if not typed:
            return self._encoded(text)
        joined = _Joined()
        done = 0
        for start, end in [*typed, (len(text), len(text))]:
            self._append(joined, text[done:start], done, as_text=False)
            self._append(joined, text[start:end], start, as_text=True)
            done = end
        return joined

    def _append(self, joined: "_Joined", piece: str, at: int, *, as_text: bool) -> None:
        if not piece:
            return
        encoded, skipped, shift = self._encoded(piece, as_text), 0, at
        if at:
            lead, behind = self._encoded(_BEFORE).ids, self._encoded(_BEFORE + piece, as_text)
            if behind.ids[: len(lead)] == lead:
                encoded, skipped, shift = behind, len(lead), at - len(_BEFORE)
        if as_text and self._tokenizer.convert_tokens_to_ids(piece) in encoded.ids:
            raise SpecialTokenText.of(piece)
        joined.append(encoded, skipped, shift)

    def _encoded(self, text: str, as_text: bool = False) -> "_Encoded":
        return _Encoded(backend_of(self._tokenizer, plain=as_text).encode(text, add_special_tokens=False))


class _Encoded:
    """A `tokenizers.Encoding`, of which lists are copied once: it copies them each time that it is asked."""

    def __init__(self, encoding: Any) -> None:
        self._encoding = encoding
        self.char_to_token: Callable[[int], int | None] = encoding.char_to_token
        self.token_to_chars: Callable[[int], Span | None] = encoding.token_to_chars

    def __len__(self) -> int:
        return len(self._encoding)

    @cached_property
    def ids(self) -> list[int]:
        """[T]."""
        return list(self._encoding.ids)

    @cached_property
    def tokens(self) -> list[str]:
        """[T] as the vocabulary spells them."""
        return list(self._encoding.tokens)


class _Joined:
    """Encodings of neighboring pieces, as one."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.tokens: list[str] = []
        self._spans: list[Span | None] = []
        self._starts: list[int] = []
        """Of the spans, ascending; a token without one has that of the token before it."""

    def append(self, encoded: TokenSpans, skipped: int, shift: int) -> None:
        """Add all but the first `skipped` tokens of a piece, whose characters are `shift` further on."""
        for token in range(skipped, len(encoded.ids)):
            span = encoded.token_to_chars(token)
            self._spans.append(None if span is None else (span[0] + shift, span[1] + shift))
            self._starts.append(span[0] + shift if span else self._starts[-1] if self._starts else 0)
        self.ids += encoded.ids[skipped:]
        self.tokens += encoded.tokens[skipped:]

    def __len__(self) -> int:
        return len(self.ids)

    def char_to_token(self, char_pos: int) -> int | None:
        """See `TokenSpans`."""
        behind = bisect_right(self._starts, char_pos)
        if not behind:
            return None
        first = bisect_left(self._starts, self._starts[behind - 1])
        holding = (token for token in range(first, behind) if (span := self._spans[token]) and char_pos < span[1])
        return next(holding, None)

    def token_to_chars(self, token_index: int) -> Span | None:
        """See `TokenSpans`."""
        return self._spans[token_index]


def weights_of(
    tokens: TokenSpans, text: str, spans: Sequence[Weighted], special_ids: Collection[int] = ()
) -> list[float]:
    """[T] the weight of each token: that of the span of which it holds a character. A special token before the span may
    hold the spaces that it begins with; it is not what the span says.
    """
    weights = [0.0] * len(tokens)
    for start, end, weight in spans:
        if start < end:
            first, behind = by_offsets(tokens, text, start), by_offsets(tokens, text, end)
            if first < behind and tokens.ids[first] in special_ids and tokens.char_to_token(start - 1) == first:
                first += 1
            if behind < len(weights) and tokens.char_to_token(end - 1) == behind:  # it holds what follows, too
                behind += 1
            weights[first:behind] = [weight] * max(behind - first, 0)
    return weights

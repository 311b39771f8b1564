"""A tenant's text to token ids, without anything around it, and without the control tokens that it spells.

With `SpecialTokens.PLAIN` the text `<|im_start|>` is the characters it consists of. A tokenizer's other added tokens,
those that it does not call special, are its vocabulary: they are found in text as any word is.
"""

from functools import cached_property
from typing import Any, Protocol

from workers.contract.spec import SpecialTokens
from workers.data.backend import backend_of, special_tokens_of
from workers.data.boundary import by_decoding, by_offsets
from workers.data.tokens import UnusableRow


class SpecialTokenText(UnusableRow):
    """The text spells a special token, and the tokenizer cannot tell the text from the token."""

    code = "special_token_text"

    @classmethod
    def of(cls, token: str) -> "SpecialTokenText":
        """`token` in the text."""
        return cls(
            f"the text spells {token!r}, and the base's tokenizer makes the special token of it in any text; "
            'leave it out, or set special_tokens to "parse" if the token is meant'
        )


class PlainText(Protocol):
    """Text to tokens, by one tokenizer."""

    def encode(self, text: str) -> list[int]:
        """The tokens of `text` alone. Raises: SpecialTokenText."""

    def split(self, text: str, boundary: int) -> tuple[list[int], int]:
        """The tokens of `text`, and how many of them lie wholly before character `boundary`.

        Raises: SpecialTokenText, UnprovenBoundary.
        """


def plain_text(tokenizer: Any, special_tokens: SpecialTokens) -> PlainText:
    """The encoder that fits the tokenizer."""
    return (FastText if tokenizer.is_fast else SlowText)(tokenizer, special_tokens)


class _Text:
    def __init__(self, tokenizer: Any, special_tokens: SpecialTokens) -> None:
        self._tokenizer = tokenizer
        self._plain = special_tokens is SpecialTokens.PLAIN

    @cached_property
    def _specials(self) -> dict[int, str]:
        return special_tokens_of(self._tokenizer)

    def _spelled(self, ids: list[int], text: str) -> str | None:
        """The special token among `ids`, if there is one. An unknown character is not one: no text spells it."""
        found = self._specials.keys() & ids
        unknown = self._tokenizer.unk_token_id
        if unknown in found and self._specials[unknown] not in text:
            found.discard(unknown)
        return self._specials[min(found)] if found else None


class FastText(_Text):
    """By a tokenizer in Rust, which knows where each token stands in the text."""

    def encode(self, text: str) -> list[int]:
        """See `PlainText`."""
        backend = backend_of(self._tokenizer, plain=self._plain)
        (encoded,) = backend.encode_batch_fast([text], add_special_tokens=False)  # "fast": without spans
        return self._checked(encoded.ids, text)

    def split(self, text: str, boundary: int) -> tuple[list[int], int]:
        """See `PlainText`."""
        encoded = backend_of(self._tokenizer, plain=self._plain).encode(text, add_special_tokens=False)
        return self._checked(encoded.ids, text), by_offsets(encoded, text, boundary)

    def _checked(self, ids: list[int], text: str) -> list[int]:
        if self._plain and (token := self._spelled(ids, text)) is not None:
            raise SpecialTokenText.of(token)
        return ids


class SlowText(_Text):
    """By a tokenizer in Python, which gives ids alone."""

    def encode(self, text: str) -> list[int]:
        """See `PlainText`."""
        ids = self._ids(text)
        if not self._plain or (token := self._spelled(ids, text)) is None:
            return ids
        try:  # not at once: it leaves out all added tokens, the vocabulary's own too
            ids = self._ids(text, split_special_tokens=True)
        except (ValueError, NotImplementedError) as error:
            raise SpecialTokenText.of(token) from error
        if (token := self._spelled(ids, text)) is not None:
            raise SpecialTokenText.of(token)
        return ids

    def split(self, text: str, boundary: int) -> tuple[list[int], int]:
        """See `PlainText`."""
        ids = self.encode(text)
        return ids, by_decoding(self._decoded, self.encode, ids, text[:boundary], text[boundary:])

    def _ids(self, text: str, **options: bool) -> list[int]:
        return [int(token) for token in self._tokenizer(text, add_special_tokens=False, **options)["input_ids"]]

    def _decoded(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

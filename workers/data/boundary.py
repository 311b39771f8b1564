"""Where a prompt ends among the tokens of prompt and completion, which are tokenized as one text.

A token that holds characters of both belongs to the completion: predicting it is what the completion begins with.
"""

from collections.abc import Callable
from typing import Protocol

from workers.data.tokens import UnusableRow


class UnprovenBoundary(UnusableRow):
    """The tokenizer does not show which tokens are the prompt's."""

    field = "completion"
    code = "boundary"


class TokenSpans(Protocol):
    """A `tokenizers.Encoding`: tokens and where each stands in the text."""

    @property
    def ids(self) -> list[int]:
        """[T]."""

    @property
    def tokens(self) -> list[str]:
        """[T] as the vocabulary spells them."""

    def __len__(self) -> int:
        """The number of tokens."""

    def char_to_token(self, char_pos: int) -> int | None:
        """The first token that holds the character."""

    def token_to_chars(self, token_index: int) -> tuple[int, int] | None:
        """The characters of a token, the end not included."""


def by_offsets(spans: TokenSpans, text: str, boundary: int) -> int:
    """How many tokens of `text` lie wholly before character `boundary`."""
    length = len(text)
    if boundary == 0:
        return 0
    if boundary >= length:
        return len(spans)
    if (holding := spans.char_to_token(boundary)) is not None:
        return holding + _bytes_before(spans, holding, text, boundary)
    # No token holds it: it is a space that the tokenizer trimmed from the span of a token, or a character it dropped.
    token = next(
        (found for place in range(boundary + 1, length) if (found := spans.char_to_token(place)) is not None),
        len(spans),
    )
    while token and _end(spans, token - 1, length) > boundary:
        token -= 1
    return token


def _bytes_before(spans: TokenSpans, token: int, text: str, boundary: int) -> int:
    """How many tokens, from `token` on, are bytes of the characters before `boundary`. Unigram models give the bytes
    of all unknown characters in a row the same span, that of the whole run.
    """
    span = spans.token_to_chars(token)
    if span is None or span[0] >= boundary:
        return 0
    coded = len(text[slice(*span)].encode())
    same = token
    while same < len(spans) and same - token <= coded and spans.token_to_chars(same) == span:
        same += 1
    return len(text[span[0] : boundary].encode()) if same - token == coded else 0


def _end(spans: TokenSpans, token: int, length: int) -> int:
    """Behind the last character of a token, with the spaces that byte-level tokenizers trim from the spans they tell.

    They trim on both sides, so the gap before the next token may be the end of this one; its own spelling tells.
    """
    start, end = spans.token_to_chars(token) or (0, 0)
    if start == end:
        return end  # of spaces alone, trimmed to their end
    spelled = spans.tokens[token]
    following = spans.token_to_chars(token + 1) if token + 1 < len(spans) else None
    return min(end + len(spelled) - len(spelled.rstrip("Ġ \t\r\n")), following[0] if following else length)


def by_decoding(
    decode: Callable[[list[int]], str],
    encode: Callable[[str], list[int]],
    ids: list[int],
    prompt: str,
    completion: str,
) -> int:
    """The same without spans. `ids` are the tokens of prompt + completion.

    It is proven by decoding, where the tokenizer gives the text back; else by the prompt's own tokens, where these
    begin the whole. Raises: UnprovenBoundary.
    """
    if not prompt:
        return 0
    if not completion:
        return len(ids)

    def decoded(count: int) -> str:
        return decode(ids[:count])

    # Bytes that are no character yet decode to U+FFFD, which a prompt might end in.
    if not prompt.endswith("\ufffd") and decoded(len(ids)) == prompt + completion:
        low, high = 0, len(ids)  # fewer tokens than `low` do not hold the prompt, `high` do
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if decoded(middle).startswith(prompt) else (middle + 1, high)
        held, short = decoded(high), decoded(high - 1)
        if held == prompt:
            return high
        if len(held) > len(prompt) > len(short) or short == prompt:
            return high - 1
    own = encode(prompt)
    if own and len(own) < len(ids) and ids[: len(own)] == own:
        return len(own)
    raise UnprovenBoundary(
        "the base's tokenizer does not show which tokens are the prompt's and which the completion's; "
        "begin the completion at a word or a line, or use a base with a fast tokenizer"
    )

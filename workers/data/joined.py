"""Encodes text rows and prompt/completion rows.

Prompt and completion are tokenized as the one text that a model sees, so the tokens decode to the tenant's text and no
tokenizer begins a word in the middle. Around it stand BOS and EOS, once each: see `workers.data.affixes`.
"""

from functools import cached_property
from typing import Any

from workers.contract.spec import SpecialTokens
from workers.data.affixes import Affixes
from workers.data.plain_text import SpecialTokenText, plain_text
from workers.data.tokens import Tokens, UnusableRow


class NothingOfCompletion(UnusableRow):
    """The tokenizer drops the whole completion."""

    field = "completion"
    code = "no_trainable_tokens"


class JoinedEncoder:
    """Made once for the files of a job, over one tokenizer."""

    def __init__(self, tokenizer: Any, special_tokens: SpecialTokens) -> None:
        self._tokenizer = tokenizer
        self._text = plain_text(tokenizer, special_tokens)

    @cached_property
    def _affixes(self) -> Affixes:
        try:
            return Affixes.of(self._tokenizer)
        except ValueError as error:
            raise UnusableRow(f"this base takes no text or prompt/completion rows: {error}") from error

    def text(self, text: str) -> Tokens:
        """Loss on every token but those that the row begins with. Raises: UnusableRow."""
        opened = self._affixes.open(text)
        try:
            own = self._text.encode(self._affixes.close(opened.text))
        except SpecialTokenText as refusal:
            refusal.field = "text"
            raise
        learned = [*own, *self._affixes.end]
        return Tokens([*opened.ids, *learned], [0.0] * len(opened.ids) + [1.0] * len(learned))

    def completion(self, prompt: str, completion: str) -> Tokens:
        """Loss on the completion and its end. Raises: UnusableRow."""
        if prompt:
            (prompt, begin) = self._affixes.open(prompt)
        else:
            (completion, begin) = self._affixes.open(completion)
        completion = self._affixes.close(completion)
        own, before = self._text.split(prompt + completion, len(prompt))
        if completion and before == len(own):
            raise NothingOfCompletion("the base's tokenizer gives no token for this completion")
        learned = len(own) - before + len(self._affixes.end)
        return Tokens([*begin, *own, *self._affixes.end], [0.0] * (len(begin) + before) + [1.0] * learned)

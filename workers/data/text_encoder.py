"""Encodes one row of text: chat, prompt/completion or plain text."""

from typing import Any

from workers.contract.rows import ChatRow, PromptCompletionRow, Row, TextRow
from workers.contract.spec import TextOptions
from workers.data.chat import encode_chat
from workers.data.pausing import Pause, no_pause
from workers.data.tokens import Tokens, UnusableRow


class TextEncoder:
    """A `RowEncoder`. Made once for the files of a job: what it finds out about tokenizer and template it keeps."""

    def __init__(self, tokenizer: Any, template: str | None, options: TextOptions | None = None) -> None:
        """`template`: the catalogue's chat template, in place of the tokenizer's."""
        self._tokenizer = tokenizer
        self._template = template
        self._options = options or TextOptions()

    def __call__(self, row: Row, pause: Pause = no_pause) -> Tokens:
        """The row as tokens. `pause` is called between its pieces. Raises: UnusableRow, Abandoned."""
        if isinstance(row, ChatRow):
            return encode_chat(self._tokenizer, self._template, row, pause)
        if isinstance(row, PromptCompletionRow):
            prompt = self._begin(row.prompt)
            completion = [*self._tokenizer(row.completion, add_special_tokens=False)["input_ids"], *self._end()]
            return Tokens([*prompt, *completion], [0.0] * len(prompt) + [1.0] * len(completion))
        if not isinstance(row, TextRow):
            raise UnusableRow("rows of this format cannot be learned as text")
        ids = [*self._begin(row.text), *self._end()]
        return Tokens(ids, [1.0] * len(ids))

    def _begin(self, text: str) -> list[int]:
        """Tokens of `text` with the tokenizer's own prefix, but without the EOS token that some tokenizers append."""
        ids = list(self._tokenizer(text)["input_ids"])
        return ids[:-1] if ids and ids[-1] == self._tokenizer.eos_token_id else ids

    def _end(self) -> list[int]:
        eos = self._tokenizer.eos_token_id
        return [] if eos is None else [eos]

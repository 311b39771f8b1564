"""Encodes one row of text: chat, prompt/completion or plain text."""

from typing import Any

from workers.contract.rows import ChatRow, PromptCompletionRow, Row, TextRow
from workers.contract.spec import TextOptions
from workers.data.chat import ChatEncoder
from workers.data.joined import JoinedEncoder
from workers.data.tokens import Tokens, UnusableRow


class TextEncoder:
    """A `RowEncoder`. Made once for the files of a job: what it finds out about tokenizer and template it keeps."""

    def __init__(self, tokenizer: Any, template: str | None, options: TextOptions | None = None) -> None:
        """`template`: the catalogue's chat template, in place of the tokenizer's."""
        options = options or TextOptions()
        self._chat = ChatEncoder(tokenizer, template, options)
        self._joined = JoinedEncoder(tokenizer, options.special_tokens)

    def __call__(self, row: Row) -> Tokens:
        """The row as tokens. Raises: UnusableRow."""
        if isinstance(row, ChatRow):
            return self._chat.encode(row)
        if isinstance(row, PromptCompletionRow):
            return self._joined.completion(row.prompt, row.completion)
        if not isinstance(row, TextRow):
            raise UnusableRow("rows of this format cannot be learned as text")
        return self._joined.text(row.text)

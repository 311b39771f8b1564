"""A row as tokens, and why a row may not become any."""

from collections.abc import Callable
from typing import NamedTuple

from workers.contract.rows import Row


class Tokens(NamedTuple):
    """One row as tokens."""

    ids: list[int]
    """[T] token ids."""
    weights: list[float]
    """[T] what predicting each token counts for in the loss, from 0 (nothing) to 1."""
    dropped: tuple[str, ...] = ()
    """Fields of the row that the chat template does not show, and whose loss the job's options accept."""


RowEncoder = Callable[[Row], Tokens]
"""A task's encoder of one row, with tokenizer, template and options bound. Raises: UnusableRow."""


class UnusableRow(ValueError):
    """The row cannot become tokens. `field` and `code` as in `RowIssue`."""

    field: str | None = None
    code = "not_encoded"


class TemplateMismatch(UnusableRow):
    """The chat template cannot render this conversation, or its rendering does not separate the assistant's tokens."""

    field = "messages"
    code = "chat_template"

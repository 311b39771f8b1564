"""Tokenizes rows once, before training, with an explicit policy for rows that are too long."""

from array import array
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from workers.contract.errors import DataError, ValidationDataError
from workers.contract.rows import ChatRow, PromptCompletionRow, Row, RowIssue
from workers.contract.spec import DatasetRef, DataSpec, Overlength
from workers.data.chat import TemplateMismatch, Tokens, encode_chat
from workers.data.reading import ReadRow, read_rows

RowEncoder = Callable[[Row], Tokens]
"""A task's encoder of one row, with tokenizer and template bound. Raises: TemplateMismatch."""


@dataclass(frozen=True)
class EncodedRow:
    """One row as tokens. `loss_mask[t]` is set when token t carries loss; the first token is never predicted.

    A host keeps all rows of its seats while they train: five bytes per token, where lists took ten times as much.
    """

    line: int
    input_ids: "array[int]"
    """[T] int32."""
    loss_mask: bytearray
    """[T] bool, a byte each."""

    @classmethod
    def of(cls, line: int, input_ids: Sequence[int], loss_mask: Sequence[bool]) -> "EncodedRow":
        """The row on `line`, packed."""
        return cls(line, array("i", input_ids), bytearray(bytes(loss_mask)))

    @property
    def supervised(self) -> int:
        """Tokens that carry loss."""
        return self.loss_mask.count(True, 1)


@dataclass(frozen=True)
class EncodedData:
    """A tokenized file, and how many rows the overlength policy changed."""

    rows: tuple[EncodedRow, ...]
    truncated: int = 0
    dropped: int = 0

    @property
    def supervised_tokens(self) -> int:
        """Tokens that carry loss in one epoch."""
        return sum(row.supervised for row in self.rows)


def encode_training(encode: RowEncoder, data: DataSpec, before_row: Callable[[], object] = lambda: None) -> EncodedData:
    """Tokenize the training file. `before_row` may raise to stop.

    Raises: StorageUnavailable; DataError naming every line that cannot be used.
    """
    return _encode(encode, data, data.training, DataError, before_row)


def encode_validation(
    encode: RowEncoder, data: DataSpec, before_row: Callable[[], object] = lambda: None
) -> EncodedData:
    """Tokenize the validation file; empty if there is none. Raises: StorageUnavailable, ValidationDataError."""
    if data.validation is None:
        return EncodedData(())
    return _encode(encode, data, data.validation, ValidationDataError, before_row)


def _encode(
    encode: RowEncoder,
    data: DataSpec,
    ref: DatasetRef,
    error: type[DataError],
    before_row: Callable[[], object],
) -> EncodedData:
    kept: list[EncodedRow] = []
    issues: list[RowIssue] = []
    truncated = dropped = 0
    with closing(read_rows(ref, error, before_row)) as rows:
        for read in rows:
            try:
                ids, mask = encode(read.row)
            except TemplateMismatch as problem:
                issues.append(RowIssue(line=read.line, field="messages", code="chat_template", message=str(problem)))
                continue
            if len(ids) > data.max_seq_len:
                if data.overlength is Overlength.DROP:
                    dropped += 1
                    continue
                if data.overlength is Overlength.ERROR:
                    issues.append(_too_long(read, len(ids), data.max_seq_len))
                    continue
                truncated += 1
                ids, mask = ids[: data.max_seq_len], mask[: data.max_seq_len]
            row = EncodedRow.of(read.line, ids, mask)
            if row.supervised:
                kept.append(row)
            else:
                issues.append(_nothing_to_learn(read))
    if issues:
        raise error(_summary(ref, issues), issues)
    if not kept:
        raise error(f"file {ref.file_id}: all {dropped} rows are longer than max_seq_len and were dropped")
    return EncodedData(tuple(kept), truncated, dropped)


def encode_row(tokenizer: Any, template: str | None, row: Row) -> Tokens:
    """Token ids [T] and loss mask [T] of one row. Raises TemplateMismatch."""
    if isinstance(row, ChatRow):
        return encode_chat(tokenizer, template, row)
    if isinstance(row, PromptCompletionRow):
        prompt = _begin(tokenizer, row.prompt)
        completion = [*tokenizer(row.completion, add_special_tokens=False)["input_ids"], *_end(tokenizer)]
        return [*prompt, *completion], [False] * len(prompt) + [True] * len(completion)
    ids = [*_begin(tokenizer, row.text), *_end(tokenizer)]
    return ids, [True] * len(ids)


def _begin(tokenizer: Any, text: str) -> list[int]:
    """Tokens of `text` with the tokenizer's own prefix, but without the EOS token that some tokenizers append."""
    ids = list(tokenizer(text)["input_ids"])
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids


def _end(tokenizer: Any) -> list[int]:
    return [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]


def _too_long(read: ReadRow, tokens: int, limit: int) -> RowIssue:
    message = (
        f"row has {tokens} tokens but max_seq_len is {limit}; shorten it, raise max_seq_len, "
        'or set overlength to "truncate" or "drop"'
    )
    return RowIssue(line=read.line, code="too_long", message=message)


def _nothing_to_learn(read: ReadRow) -> RowIssue:
    message = "no token of this row carries loss within max_seq_len, so there is nothing to learn from it"
    return RowIssue(line=read.line, code="no_trainable_tokens", message=message)


def _summary(ref: DatasetRef, issues: Sequence[RowIssue]) -> str:
    shown = ", ".join(str(issue.line) for issue in issues[:10])
    more = f" and {len(issues) - 10} more" if len(issues) > 10 else ""
    return f"file {ref.file_id}: {len(issues)} row(s) cannot be used: line {shown}{more}; {issues[0].message}"

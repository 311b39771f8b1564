"""Tokenizes rows once, before training, with an explicit policy for rows that are too long."""

import logging
from array import array
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from workers.contract.errors import DataError, ValidationDataError, WorkerError
from workers.contract.issues import stopped
from workers.contract.rows import Row, RowIssue
from workers.contract.spec import DatasetRef, DataSpec, Overlength
from workers.data.pausing import Abandoned, Pause, no_pause
from workers.data.reading import ReadRow, read_rows, summary
from workers.data.tokens import RowEncoder, Tokens, UnusableRow

_MACHINES: Final = (Abandoned, WorkerError, OSError, MemoryError, ImportError)
"""What may go wrong with any row. Every other error that comes of encoding a row is the row's."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodedRow:
    """One row as tokens. `loss_weights[t]` is what predicting token t counts for; the first token is never predicted.

    A host keeps all rows of its seats while they train: eight bytes per token, where lists took eight times as much.
    """

    line: int
    input_ids: "array[int]"
    """[T] int32."""
    loss_weights: "array[float]"
    """[T] fp32, from 0 to 1."""

    @classmethod
    def of(cls, line: int, input_ids: Sequence[int], loss_weights: Sequence[float]) -> "EncodedRow":
        """The row on `line`, packed."""
        return cls(line, array("i", input_ids), array("f", loss_weights))

    @property
    def supervised(self) -> int:
        """Tokens that carry loss."""
        return sum(weight > 0 for weight in memoryview(self.loss_weights)[1:])


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


def encode_training(encode: RowEncoder, data: DataSpec, pause: Pause = no_pause) -> EncodedData:
    """Tokenize the training file. `pause` is called before each line and within long rows.

    Raises: StorageUnavailable, Abandoned; DataError naming every line that cannot be used.
    """
    return _encode(encode, data, data.training, DataError, pause)


def encode_validation(encode: RowEncoder, data: DataSpec, pause: Pause = no_pause) -> EncodedData:
    """Tokenize the validation file; empty if there is none. Raises: as above, with ValidationDataError."""
    if data.validation is None:
        return EncodedData(())
    return _encode(encode, data, data.validation, ValidationDataError, pause)


def _encode(encode: RowEncoder, data: DataSpec, ref: DatasetRef, error: type[DataError], pause: Pause) -> EncodedData:
    kept: list[EncodedRow] = []
    issues: list[RowIssue] = []
    truncated = dropped = 0
    with closing(read_rows(ref, error, pause)) as rows:
        for read in rows:
            if stopped(issues, read.line):
                break
            row = _encoded(encode, read, pause)
            if isinstance(row, RowIssue):
                issues.append(row)
                continue
            if len(row.input_ids) > data.max_seq_len:
                if data.overlength is Overlength.DROP:
                    dropped += 1
                    continue
                if data.overlength is Overlength.ERROR:
                    issues.append(_too_long(read, len(row.input_ids), data.max_seq_len))
                    continue
                truncated += 1
                row = EncodedRow(row.line, row.input_ids[: data.max_seq_len], row.loss_weights[: data.max_seq_len])
            if row.supervised:
                kept.append(row)
            else:
                issues.append(_nothing_to_learn(read))
    if issues:
        raise error(summary(ref, issues), issues)
    if not kept:
        raise error(f"file {ref.file_id}: all {dropped} rows are longer than max_seq_len and were dropped")
    return EncodedData(tuple(kept), truncated, dropped)


def _encoded(encode: RowEncoder, read: ReadRow, pause: Pause) -> EncodedRow | RowIssue:
    """The row as tokens, or why it cannot be. No error over one row is the machine's but those of `_MACHINES`: a retry
    would meet the same row.
    """
    try:
        return EncodedRow.of(read.line, *encode(read.row, pause)[:2])
    except UnusableRow as problem:
        return RowIssue(line=read.line, field=problem.field, code=problem.code, message=str(problem))
    except _MACHINES:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # of native code
            raise
        log.warning("line %s could not be encoded", read.line, exc_info=True)
        message = f"the base's tokenizer or chat template failed on this row ({type(error).__name__})"
        return RowIssue(line=read.line, code=UnusableRow.code, message=message)


def within_vocabulary(encode: RowEncoder, tokenizer: Any, size: int) -> RowEncoder:
    """`encode`, refusing rows with tokens for which the base has no embedding: there are `size`."""

    def checked(row: Row, pause: Pause) -> Tokens:
        tokens = encode(row, pause)
        if tokens.ids and (highest := max(tokens.ids)) >= size:
            raise UnusableRow(
                f"the token {tokenizer.convert_ids_to_tokens(highest)!r} ({highest}) of the base's tokenizer has no "
                f"embedding in the base, which has {size}; leave it out, or use another base"
            )
        return tokens

    return checked


def _too_long(read: ReadRow, tokens: int, limit: int) -> RowIssue:
    message = (
        f"row has {tokens} tokens but max_seq_len is {limit}; shorten it, raise max_seq_len, "
        'or set overlength to "truncate" or "drop"'
    )
    return RowIssue(line=read.line, code="too_long", message=message)


def _nothing_to_learn(read: ReadRow) -> RowIssue:
    message = "no token of this row carries loss within max_seq_len, so there is nothing to learn from it"
    return RowIssue(line=read.line, code="no_trainable_tokens", message=message)

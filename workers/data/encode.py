"""Tokenizes rows once, before training, with an explicit policy for rows that are too long."""

import logging
import re
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from workers.contract.errors import DataError, WorkerError
from workers.contract.issues import MAX_FIELD_CHARS, stopped, storable_text
from workers.contract.rows import Row, RowIssue
from workers.contract.spec import DatasetRef, DataSpec, Overlength
from workers.data.reading import ReadRow, read_rows, summary
from workers.data.tokens import RowEncoder, Tokens, UnusableRow

_MACHINES: Final = (WorkerError, OSError, MemoryError, ImportError)
"""What may go wrong with any row. Every other error that comes of encoding a row is the row's."""
NOTHING_TO_LEARN: Final = "no_trainable_tokens"
MAX_LEFT_OUT: Final = 50
"""Fields that are counted by their names."""
OTHER_FIELDS: Final = "other fields"
_PLACE: Final = re.compile(r"(?<=\.)\d+\b")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodedRow:
    """One row as tokens. `loss_weights[t]` is what predicting token t counts for; the first token is never predicted.

    Eight bytes a token: its own arrays where it was encoded, views of stored rows where it is trained on. They
    are copied only where their row is batched.
    """

    line: int
    input_ids: "array[int] | memoryview[int]"
    """[T] int32."""
    loss_weights: "array[float] | memoryview[float]"
    """[T] fp32, from 0 to 1; 0: the token carries no loss."""

    @classmethod
    def of(cls, line: int, input_ids: Sequence[int], loss_weights: Sequence[float]) -> "EncodedRow":
        """The row on `line`, packed."""
        return cls(line, array("i", input_ids), array("f", loss_weights))

    @cached_property
    def supervised(self) -> int:
        """Tokens that carry loss, whatever their weight."""
        return sum(weight > 0 for weight in memoryview(self.loss_weights)[1:])


@dataclass(frozen=True)
class EncodedData:
    """A tokenized file, how many rows the overlength policy changed, and what their rendering leaves out."""

    rows: Sequence[EncodedRow]
    truncated: int = 0
    dropped: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Field, with `*` for places in lists -> kept rows of which the chat template does not show it. At most
    `MAX_LEFT_OUT` fields, and `OTHER_FIELDS`.
    """
    issues: Sequence[RowIssue] = ()
    """Of rows that cannot be used: with any, the file is not trained on."""

    @property
    def supervised_tokens(self) -> int:
        """Tokens that carry loss in one epoch."""
        return sum(row.supervised for row in self.rows)


OnLine = Callable[[int | None], object]
"""Called with a row's line before it is encoded, and with None after it."""
OnRow = Callable[[ReadRow, Tokens], object]
"""Called with each row that is kept, and its tokens before truncation."""


def require_usable(encoded: EncodedData, ref: DatasetRef) -> EncodedData:
    """`encoded`, if every row of the file can be used. Raises: DataError with the issues."""
    if encoded.issues:
        raise DataError(summary(ref, encoded.issues), encoded.issues)
    if not encoded.rows:
        raise DataError(f"file {ref.file_id}: all {encoded.dropped} rows are longer than max_seq_len and were dropped")
    return encoded


def encode_file(
    encode: RowEncoder,
    data: DataSpec,
    ref: DatasetRef,
    on_line: OnLine = lambda _: None,
    on_row: OnRow = lambda _, __: None,
) -> EncodedData:
    """Tokenize what can be used of the file, and tell the rest as its issues.

    Raises: StorageUnavailable; DataError when the file does not read as it did at its upload.
    """
    kept: list[EncodedRow] = []
    issues: list[RowIssue] = []
    truncated = dropped = 0
    left_out: Counter[str] = Counter()
    with closing(read_rows(ref, data.extra)) as rows:
        for read in rows:
            if stopped(issues, read.line):
                break
            on_line(read.line)
            tokens = _encoded(encode, read)
            on_line(None)
            if isinstance(tokens, RowIssue):
                issues.append(tokens)
                continue
            row = EncodedRow.of(read.line, tokens.ids, tokens.weights)
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
                left_out.update(_told(tokens.dropped, left_out.keys()))
                on_row(read, tokens)
            else:
                issues.append(_nothing_to_learn(read))
    return EncodedData(tuple(kept), truncated, dropped, left_out, tuple(issues))


def _told(dropped: Sequence[str], known: AbstractSet[str]) -> set[str]:
    """Names of fields for a database and for events: tenants name the fields of tools, in every row others."""
    names: set[str] = set()
    for name in dropped:
        told = storable_text(_PLACE.sub("*", name), MAX_FIELD_CHARS)
        names.add(told if told in known or len(known | names) < MAX_LEFT_OUT else OTHER_FIELDS)
    return names


def _encoded(encode: RowEncoder, read: ReadRow) -> Tokens | RowIssue:
    """The row as tokens, or why it cannot be. No error over one row is the machine's but those of `_MACHINES`: a retry
    would meet the same row.
    """
    try:
        return encode(read.row)
    except UnusableRow as problem:
        return RowIssue(line=read.line, field=problem.field, code=problem.code, message=str(problem))
    except BaseException as error:
        if not is_of_row(error):
            raise
        log.warning("line %s could not be encoded", read.line, exc_info=True)
        message = f"the base's tokenizer or chat template failed on this row ({type(error).__name__})"
        return RowIssue(line=read.line, code=UnusableRow.code, message=message)


def is_of_row(error: BaseException) -> bool:
    """Whether a tokenizer's error over a row is the row's, and no machine's. Native code has a class of its own."""
    is_error = isinstance(error, Exception) or type(error).__name__ == "PanicException"
    return is_error and not isinstance(error, _MACHINES)


def within_vocabulary(encode: RowEncoder, tokenizer: Any, size: int) -> RowEncoder:
    """`encode`, refusing rows with tokens for which the base has no embedding: there are `size`."""

    def checked(row: Row) -> Tokens:
        tokens = encode(row)
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
    return RowIssue(line=read.line, code=NOTHING_TO_LEARN, message=message)

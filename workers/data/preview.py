"""What a preview shows of encoded rows. Pure."""

import hashlib
import logging
from array import array
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from workers.contract.issues import MAX_FIELD_CHARS, storable_text
from workers.contract.preview import (
    DIGEST_BYTES,
    MAX_CONVERTED_CHARS,
    MAX_DROPPED,
    MAX_ROWS,
    MAX_TOKENS,
    FileSummary,
    Lengths,
    PreviewRow,
    StoredPreview,
    TokenRun,
)
from workers.data.encode import NOTHING_TO_LEARN, EncodedData, EncodedRow, is_of_row
from workers.data.pieces import UNFINISHED, pieces
from workers.data.reading import ReadRow
from workers.data.tokens import Tokens

log = logging.getLogger(__name__)


class PreviewTaker:
    """Takes the first rows of a file while it is encoded."""

    def __init__(self, tokenizer: Any, max_seq_len: int) -> None:
        self._tokenizer = tokenizer
        self._max_seq_len = max_seq_len
        self._rows: list[PreviewRow] = []

    def take(self, read: ReadRow, tokens: Tokens) -> None:
        """Show the row, if it is one of the first."""
        if len(self._rows) < MAX_ROWS:
            self._rows.append(show_row(self._tokenizer, read, tokens, self._max_seq_len))

    def of(self, data: EncodedData) -> StoredPreview:
        """The preview of the file whose rows became `data`."""
        return StoredPreview(rows=tuple(self._rows), summary=summarize(data))


def show_row(tokenizer: Any, read: ReadRow, tokens: Tokens, max_seq_len: int) -> PreviewRow:
    """A row of T tokens as neighboring ones of one weight."""
    kept = min(len(tokens.ids), max_seq_len)
    shown = min(kept, MAX_TOKENS)
    ids, weights = tokens.ids[:shown], _predicted(tokens.weights)[:shown]
    texts = _texts(tokenizer, ids)
    runs = []
    for weight, places in groupby(range(shown), key=lambda place: weights[place]):
        own = list(places)
        text = "".join(texts[place] for place in own)
        runs.append(TokenRun(text=text, ids=tuple(ids[place] for place in own), weight=weight))
    return PreviewRow(
        line=read.line,
        tokens=len(tokens.ids),
        trained_tokens=sum(weight > 0 for weight in _predicted(tokens.weights)[:kept]),
        runs=tuple(runs),
        shown_tokens=shown,
        truncated_to=kept if kept < len(tokens.ids) else None,
        dropped=tuple(storable_text(name, MAX_FIELD_CHARS) for name in tokens.dropped[:MAX_DROPPED]),
        converted=None if read.is_as_sent else read.row.model_dump_json(exclude_none=True)[:MAX_CONVERTED_CHARS],
    )


def summarize(data: EncodedData) -> FileSummary:
    """The rows that train, and how many do not."""
    lengths = sorted(len(row.input_ids) for row in data.rows)
    return FileSummary(
        rows=len(data.rows),
        tokens=sum(lengths),
        trained_tokens=data.supervised_tokens,
        lengths=Lengths(p50=_quantile(lengths, 50), p95=_quantile(lengths, 95), max=lengths[-1]) if lengths else None,
        duplicates=len(data.rows) - len(set(map(digest, data.rows))),
        truncated=data.truncated,
        too_long=data.dropped,
        nothing_to_learn=sum(issue.code == NOTHING_TO_LEARN for issue in data.issues),
    )


def digest(row: EncodedRow) -> bytes:
    """Tells rows apart by tokens and weights. The first token's weight says nothing."""
    of_row = hashlib.blake2b(row.input_ids, digest_size=DIGEST_BYTES)
    of_row.update(memoryview(row.loss_weights)[1:])
    return of_row.digest()


def _texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The text of each of `ids` [T]. A tokenizer that cannot say it is no reason against the row, whose ids it gave."""
    try:
        return [_storable(text) for text in pieces(tokenizer, ids)]
    except BaseException as error:
        if not is_of_row(error):
            raise
        log.warning("tokens cannot be decoded", exc_info=True)
        return [UNFINISHED] * len(ids)


def _storable(text: str) -> str:
    """`text` without halves of characters, which UTF-8 cannot hold."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _predicted(weights: Sequence[float]) -> list[float]:
    """[T] weights in the loss: nothing predicts the first token, and what fp32 cannot tell from 0 is 0."""
    packed = array("f", weights[1:])
    return [0.0, *(weight if packed[n] else 0.0 for n, weight in enumerate(weights[1:]))] if weights else []


def _quantile(ordered: Sequence[int], percent: int) -> int:
    """The nearest-rank percentile."""
    return ordered[-(-len(ordered) * percent // 100) - 1]

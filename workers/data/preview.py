"""What a preview shows of encoded rows. Pure."""

import hashlib
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from workers.contract.preview import MAX_TOKENS, FileSummary, Lengths, PreviewRow, TokenRun
from workers.data.encode import EncodedData, EncodedRow
from workers.data.pieces import pieces
from workers.data.tokens import Tokens


def show_row(tokenizer: Any, line: int, tokens: Tokens, max_seq_len: int) -> PreviewRow:
    """A row of T tokens as neighboring ones of one weight."""
    kept = min(len(tokens.ids), max_seq_len)
    shown = min(kept, MAX_TOKENS)
    ids, weights = tokens.ids[:shown], _predicted(tokens.weights)[:shown]
    texts = pieces(tokenizer, ids)
    runs = []
    for weight, places in groupby(range(shown), key=lambda place: weights[place]):
        own = list(places)
        text = "".join(texts[place] for place in own)
        runs.append(TokenRun(text=text, ids=tuple(ids[place] for place in own), weight=weight))
    return PreviewRow(
        line=line,
        tokens=len(tokens.ids),
        trained_tokens=sum(weight > 0 for weight in _predicted(tokens.weights)[:kept]),
        runs=tuple(runs),
        shown_tokens=shown,
        truncated_to=kept if kept < len(tokens.ids) else None,
        dropped=tokens.dropped,
    )


def summarize(data: EncodedData, nothing_to_learn: int) -> FileSummary:
    """The rows that train, and how many do not."""
    lengths = sorted(len(row.input_ids) for row in data.rows)
    return FileSummary(
        rows=len(data.rows),
        tokens=sum(lengths),
        trained_tokens=data.supervised_tokens,
        lengths=Lengths(p50=_quantile(lengths, 50), p95=_quantile(lengths, 95), max=lengths[-1]) if lengths else None,
        duplicates=len(data.rows) - len(digests(data.rows)),
        truncated=data.truncated,
        too_long=data.dropped,
        nothing_to_learn=nothing_to_learn,
    )


def digests(rows: Sequence[EncodedRow]) -> set[bytes]:
    """What tells rows apart: their tokens and weights."""
    return {hashlib.blake2b(bytes(row.input_ids) + bytes(row.loss_weights), digest_size=16).digest() for row in rows}


def _predicted(weights: Sequence[float]) -> list[float]:
    """[T] weights in the loss: nothing predicts the first token."""
    return [0.0, *weights[1:]] if weights else []


def _quantile(ordered: Sequence[int], percent: int) -> int:
    """The nearest-rank percentile."""
    return ordered[-(-len(ordered) * percent // 100) - 1]

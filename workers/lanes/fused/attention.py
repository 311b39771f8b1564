"""Causal attention over rows packed end to end. Each row attends only to itself, without padding or a stored mask.

Registered in transformers' attention interface, so it serves every architecture that uses the interface.
"""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from workers.lanes.fused.short_rows import LONGEST, attend_short, causal_mask

PACKED: Final = "orchard_packed"
"""The name in transformers' registry of attention functions."""

SeqLens = Sequence[tuple[int, int]]
"""(rows, tokens per row) for each run of equally long rows."""

_NOT_SERVED: Final = ("softcap", "s_aux", "position_bias", "cache", "head_mask")


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    seq_lens: SeqLens | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """`query` [B, Hq, T, D], `key` and `value` [B, Hkv, T, D] -> [B, T, Hq, D].

    With `seq_lens`, B is 1 and T spans all rows end to end; without, each of the B rows is one row.
    Raises: NotImplementedError for attention variants that are not supported.
    """
    if attention_mask is not None or any(more.get(name) is not None for name in _NOT_SERVED):
        raise NotImplementedError(f"{type(module).__name__} asks for more than causal attention")
    batch, _, tokens, _ = query.shape
    runs = seq_lens or ((batch, tokens),)
    sizes = [rows * length for rows, length in runs]
    split = [torch.split(part.transpose(1, 2).flatten(0, 1), sizes) for part in (query, key, value)]
    outputs = []
    for (rows, length), *parts in zip(runs, *split, strict=True):
        q, k, v = (part.view(rows, length, *part.shape[1:]).transpose(1, 2) for part in parts)
        output = _attend(q, k, v, scaling, sliding_window)
        outputs.append(output.transpose(1, 2).flatten(0, 1))
    together = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return together.view(batch, tokens, *together.shape[1:]), None


def _attend(q: Tensor, k: Tensor, v: Tensor, scale: float | None, window: int | None) -> Tensor:
    """`q` [B, Hq, T, D], `k` and `v` [B, Hkv, T, D] -> [B, Hq, T, D], by the fastest kernel for this length."""
    length = q.shape[2]
    if q.device.type == "cpu" and length <= LONGEST:
        return attend_short(q, k, v, scale, window)
    banded = window is not None and length > window
    return scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=causal_mask(length, window, q.device).logical_not() if window is not None and banded else None,
        is_causal=not banded,
        scale=scale,
        enable_gqa=q.shape[1] != k.shape[1],
    )


AttentionInterface.register(PACKED, packed_attention)

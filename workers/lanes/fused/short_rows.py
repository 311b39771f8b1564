"""Attention of short rows on CPUs, by plain batched products.

torch's flash kernel tiles for long rows. For rows of up to a few hundred tokens in bf16 it takes three to seven times
as long as three batched products (compared in `tests/bench`). The scores of such rows are small enough to keep.
"""

import math
from functools import lru_cache
from typing import Any, Final

import torch
from torch import Tensor

LONGEST: Final = 384  # tokens; for longer rows, scores outgrow the CPU caches and the flash kernel wins


class ShortRowAttention(torch.autograd.Function):
    """softmax(q k^T * scale) v under a mask, for grouped queries (arXiv 2305.13245). Scores and softmax in fp32."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, hidden: Tensor) -> Tensor:
        """`query` [B, Hq, T, D], `key` and `value` [B, Hkv, T, D], `hidden` [T, T] bool, set where a key is masked.

        Returns [B, Hq, T, D].
        """
        batch, heads, tokens, size = query.shape
        groups = batch * key.shape[1]
        q, k, v = query.reshape(groups, -1, size), key.reshape(groups, tokens, -1), value.reshape(groups, tokens, -1)
        scores = torch.bmm(q, k.mT).float().mul_(scale)
        scores.view(-1, tokens, tokens).masked_fill_(hidden, -math.inf)
        weights = torch.softmax(scores, dim=-1).to(query.dtype)
        output = torch.bmm(weights, v)
        ctx.save_for_backward(q, k, v, weights, output)
        ctx.scale, ctx.shapes = scale, (query.shape, key.shape, value.shape)
        return output.view(batch, heads, tokens, -1)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """The softmax's gradient through sum(dO * O), as in arXiv 2205.14135, section B.2."""
        q, k, v, weights, output = ctx.saved_tensors
        gradient = upstream[0].reshape(output.shape)
        dv = torch.bmm(weights.mT, gradient)
        level = (gradient.float() * output.float()).sum(dim=-1, keepdim=True)
        scores = torch.bmm(gradient, v.mT).float().sub_(level).mul_(weights).mul_(ctx.scale).to(q.dtype)
        dq, dk = torch.bmm(scores, k), torch.bmm(scores.mT, q)
        of_query, of_key, of_value = ctx.shapes
        return dq.view(of_query), dk.view(of_key), dv.view(of_value), None, None


def attend_short(query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None) -> Tensor:
    """Causal attention within rows. A token attends to itself and the `window` - 1 before it; None: all before it."""
    tokens, size = query.shape[-2:]
    out: Tensor = ShortRowAttention.apply(  # type: ignore[no-untyped-call]
        query, key, value, size**-0.5 if scale is None else scale, causal_mask(tokens, window or tokens, query.device)
    )
    return out


@lru_cache(maxsize=256)
def causal_mask(tokens: int, window: int, device: torch.device) -> Tensor:
    """[T, T] bool, set where a key is masked: after the token, or `window` or more tokens before it."""
    ones = torch.ones(tokens, tokens, dtype=torch.bool, device=device)
    return ones.triu(1) | ones.tril(-window)

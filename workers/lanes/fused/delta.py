"""The adapters' part of one linear: y += scale * B A dropout(x), for all seats of a fused batch at once.

The batched product of S-LoRA and mLoRA (arXiv 2311.03285, 2312.02515). Its backward uses the same masked input as the
forward and writes each seat's gradient into the seat's own row.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from workers.lanes.fused.routing import Routing, Segment
from workers.lanes.fused.stack import WeightSlice


class StackedDelta(torch.autograd.Function):
    """Adds the adapters' output to the base's. Gradients of A and B are written to the stacks, not through autograd."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, _anchor: Tensor, routing: Routing, path: str) -> Tensor:
        """`y` [..., out] += ... for `x` [..., in]. `_anchor` only makes the result require a gradient."""
        out = y.clone() if y._is_view() else y
        if out is y:
            ctx.mark_dirty(y)
        outputs, inputs = out.view(-1, out.shape[-1]), x.reshape(-1, x.shape[-1])
        parts = routing.at(path)
        hiddens: list[Tensor] = []
        masks: list[Tensor | None] = []
        fp32 = routing.fp32.of(inputs)
        for segment, at in parts:
            own = outputs[segment.tokens]
            mask = _mask(segment, path, fp32[segment.tokens], routing.width)
            hidden = torch.bmm(_by_seat(segment, fp32, mask), _a(segment, at).mT).mul_(segment.scale)
            own.add_(torch.bmm(hidden, _b(segment, at).mT).view(own.shape))
            hiddens.append(hidden)
            masks.append(mask)
        ctx.save_for_backward(inputs, *hiddens, *masks)  # the only large tensors: a recomputed pass keeps only ctx
        ctx.parts, ctx.routing, ctx.x_shape = parts, routing, x.shape
        return out

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        """Each seat's tokens receive only their own upstream gradient."""
        (gradient,) = upstream
        inputs, *saved = ctx.saved_tensors
        hiddens, masks = saved[: len(ctx.parts)], saved[len(ctx.parts) :]
        outer = gradient.reshape(-1, gradient.shape[-1]).float()
        fp32 = ctx.routing.fp32.of(inputs)
        dx = _gradient_like(inputs, ctx.parts) if ctx.needs_input_grad[1] else None
        for (segment, at), hidden, mask in zip(ctx.parts, hiddens, masks, strict=True):
            dy = _by_seat(segment, outer)
            segment.add_gradient(at.b, (at.outputs, at.rank), dy.mT, hidden)
            dhidden = torch.bmm(dy, _b(segment, at)).mul_(segment.scale)
            segment.add_gradient(at.a, (at.rank, at.inputs), dhidden.mT, _by_seat(segment, fp32, mask))
            if dx is not None:
                back = torch.bmm(dhidden, _a(segment, at)).view(-1, at.inputs)
                dx[segment.tokens] = back if mask is None else back.mul_(mask)
        return gradient, None if dx is None else dx.view(ctx.x_shape), None, None, None


def _by_seat(segment: Segment, source: Tensor, mask: Tensor | None = None) -> Tensor:
    """The segment's tokens of `source` [N, F], masked, as [S, P, F] fp32."""
    own = source[segment.tokens]
    if mask is not None:
        own = own * mask
    return own.view(len(segment.seat_batches), -1, own.shape[-1])


def _a(segment: Segment, at: WeightSlice) -> Tensor:
    return segment.gather(segment.stack.weights, at.a, at.a_size, (at.rank, at.inputs))


def _b(segment: Segment, at: WeightSlice) -> Tensor:
    return segment.gather(segment.stack.weights, at.b, at.b_size, (at.outputs, at.rank))


def _gradient_like(inputs: Tensor, parts: Sequence[tuple[Segment, WeightSlice]]) -> Tensor:
    """[N, in] for the segments to fill; zeros unless they cover every token."""
    covered = sum(segment.tokens.stop - segment.tokens.start for segment, _ in parts)
    return torch.empty_like(inputs) if covered == len(inputs) else torch.zeros_like(inputs)


def _mask(segment: Segment, path: str, like: Tensor, width: int | None) -> Tensor | None:
    """The seats' dropout masks [S * P, in]; None when no seat has dropout."""
    if all(seat_batch.dropout is None for seat_batch in segment.seat_batches):
        return None
    parts = like.chunk(len(segment.seat_batches))
    return torch.cat([p.dropout_mask(path, part, width) for p, part in zip(segment.seat_batches, parts, strict=True)])

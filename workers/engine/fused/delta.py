"""The adapters' part of one linear: y += scale * B A dropout(x), for all seats of a fused batch at once.

The batched product of S-LoRA and mLoRA (arXiv 2311.03285, 2312.02515), with a backward that uses the same masked input
as the forward and writes each seat's gradient into its own row.
"""

from typing import Any

import torch
from torch import Tensor

from workers.engine.fused.routing import Routing, Segment
from workers.engine.fused.stack import Place


class StackedDelta(torch.autograd.Function):
    """Adds the adapters' output to the base's. Gradients of A and B go to the stacks, not through autograd."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, _anchor: Tensor, routing: Routing, path: str) -> Tensor:
        """`y` [R, T, out], `x` [R, T, in] -> [R, T, out]. `_anchor` only makes the result require a gradient."""
        out = y.clone() if y._is_view() else y
        if out is y:
            ctx.mark_dirty(y)
        x = x.view(routing.rows, -1, x.shape[-1])
        flat = out.view(routing.rows, -1, out.shape[-1])
        parts = routing.at(path)
        kept: list[Tensor] = []
        masks: list[Tensor | None] = []
        for segment, at in parts:
            seats = len(segment.picks)
            inputs, mask = _masked(segment, path, x[segment.rows])
            inputs = inputs.reshape(seats, -1, at.inputs).float()
            hidden = torch.bmm(inputs, _a(segment, at).mT).mul_(segment.scale)
            delta = torch.bmm(hidden, _b(segment, at).mT)
            flat[segment.rows] += delta.view(flat[segment.rows].shape).to(flat.dtype)
            kept += [inputs, hidden]
            masks.append(mask)
        ctx.save_for_backward(*kept)
        ctx.parts, ctx.masks, ctx.path, ctx.x_shape, ctx.x_dtype, ctx.rows = (
            parts,
            masks,
            path,
            x.shape,
            x.dtype,
            routing.rows,
        )
        return out

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        """Rows of a seat see their own upstream gradient only."""
        (gradient,) = upstream
        grad = gradient.reshape(ctx.rows, -1, gradient.shape[-1])
        dx = torch.zeros(ctx.x_shape, dtype=ctx.x_dtype, device=grad.device) if ctx.needs_input_grad[1] else None
        saved = ctx.saved_tensors
        for index, (segment, at) in enumerate(ctx.parts):
            inputs, hidden = saved[2 * index], saved[2 * index + 1]
            dy = grad[segment.rows].reshape(len(segment.picks), -1, at.outputs).float()
            segment.add_gradient(at.b, at.b_size, torch.bmm(dy.mT, hidden))
            dhidden = torch.bmm(dy, _b(segment, at)).mul_(segment.scale)
            segment.add_gradient(at.a, at.a_size, torch.bmm(dhidden.mT, inputs))
            if dx is not None:
                back = torch.bmm(dhidden, _a(segment, at)).view(dx[segment.rows].shape)
                mask = ctx.masks[index]
                dx[segment.rows] = (back if mask is None else back * mask).to(dx.dtype)
        return gradient, dx, None, None, None


def _a(segment: Segment, at: Place) -> Tensor:
    return segment.gather(segment.stack.weights, at.a, at.a_size, (at.rank, at.inputs))


def _b(segment: Segment, at: Place) -> Tensor:
    return segment.gather(segment.stack.weights, at.b, at.b_size, (at.outputs, at.rank))


def _masked(segment: Segment, path: str, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """The segment's rows times their seats' masks, and the masks [rows, T, in]; ones where a seat has no dropout."""
    if all(pick.dropout is None for pick in segment.picks):
        return x, None
    mask = torch.ones_like(x)
    for index, pick in enumerate(segment.picks):
        if pick.dropout is not None:
            own = mask[index * pick.rows : (index + 1) * pick.rows, : pick.width]
            own.copy_(pick.dropout.mask(path, own))
    return x * mask, mask

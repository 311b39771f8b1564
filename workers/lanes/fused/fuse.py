"""The seat batches of a routing as one batch for the base: packed end to end, or padded to the widest."""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from workers.data.batches import MicroBatch
from workers.lanes.fused.attention import SeqLens
from workers.lanes.fused.routing import Routing


@dataclass(frozen=True)
class PackedBatch:
    """All rows of a pass, end to end; implements `Scorable`."""

    input_ids: Tensor
    """[1, N] int64."""
    position_ids: Tensor
    """[1, N] int64; restarts at 0 for every row."""
    loss_weights: Tensor
    """[1, N] fp32. 0 on a row's first token, so no token is predicted from the previous row."""
    seq_lens: SeqLens

    def inputs(self) -> dict[str, Any]:
        """See `Scorable.inputs`."""
        return {"input_ids": self.input_ids, "position_ids": self.position_ids, "seq_lens": self.seq_lens}


def fuse(routing: Routing, pad_id: int, device: torch.device) -> PackedBatch | MicroBatch:
    """The rows of all seat batches, in order."""
    return _pack(routing, device) if routing.width is None else _pad(routing, routing.width, pad_id).to(device)


def _pack(routing: Routing, device: torch.device) -> PackedBatch:
    masks = [seat_batch.batch.attention_mask.bool() for seat_batch in routing.seat_batches]
    lengths = [length for mask in masks for length in mask.sum(1).tolist()]

    def joined(parts: list[Tensor]) -> Tensor:
        real = [part[mask] for part, mask in zip(parts, masks, strict=True)]
        return torch.cat(real)[None].to(device)

    return PackedBatch(
        joined([seat_batch.batch.input_ids for seat_batch in routing.seat_batches]),
        torch.cat([torch.arange(length) for length in lengths])[None].to(device),
        joined([seat_batch.batch.loss_weights for seat_batch in routing.seat_batches]),
        tuple((len(list(run)), length) for length, run in groupby(lengths)),
    )


def _pad(routing: Routing, width: int, pad_id: int) -> MicroBatch:
    rows = sum(seat_batch.rows for seat_batch in routing.seat_batches)
    input_ids = torch.full((rows, width), pad_id, dtype=torch.long)
    attention_mask = torch.zeros((rows, width), dtype=torch.long)
    loss_weights = torch.zeros((rows, width))
    row = 0
    for seat_batch in routing.seat_batches:
        own = slice(row, row + seat_batch.rows)
        input_ids[own, : seat_batch.width] = seat_batch.batch.input_ids
        attention_mask[own, : seat_batch.width] = seat_batch.batch.attention_mask
        loss_weights[own, : seat_batch.width] = seat_batch.batch.loss_weights
        row += seat_batch.rows
    lines = tuple(line for seat_batch in routing.seat_batches for line in seat_batch.batch.lines)
    return MicroBatch.of(input_ids, attention_mask, loss_weights, lines)

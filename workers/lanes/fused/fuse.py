"""The picks of a routing as one batch for the base: packed end to end, or padded to the widest."""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from workers.data.batches import MicroBatch
from workers.lanes.fused.attention import RowRuns
from workers.lanes.fused.routing import Routing


@dataclass(frozen=True)
class PackedBatch:
    """All rows of a pass, end to end; implements `Scorable`."""

    input_ids: Tensor
    """[1, N] int64."""
    position_ids: Tensor
    """[1, N] int64; starts again with every row."""
    loss_mask: Tensor
    """[1, N] bool. Never set on the first token of a row, so none is predicted from the row before."""
    row_runs: RowRuns

    def inputs(self) -> dict[str, Any]:
        """See `Scorable.inputs`."""
        return {"input_ids": self.input_ids, "position_ids": self.position_ids, "row_runs": self.row_runs}


def fuse(routing: Routing, pad_id: int, device: torch.device) -> PackedBatch | MicroBatch:
    """The rows of all picks, in their order."""
    return _pack(routing, device) if routing.width is None else _pad(routing, routing.width, pad_id).to(device)


def _pack(routing: Routing, device: torch.device) -> PackedBatch:
    masks = [pick.batch.attention_mask.bool() for pick in routing.picks]
    lengths = [length for mask in masks for length in mask.sum(1).tolist()]

    def joined(parts: list[Tensor]) -> Tensor:
        real = [part[mask] for part, mask in zip(parts, masks, strict=True)]
        return torch.cat(real)[None].to(device)

    return PackedBatch(
        joined([pick.batch.input_ids for pick in routing.picks]),
        torch.cat([torch.arange(length) for length in lengths])[None].to(device),
        joined([pick.batch.loss_mask for pick in routing.picks]),
        tuple((len(list(run)), length) for length, run in groupby(lengths)),
    )


def _pad(routing: Routing, width: int, pad_id: int) -> MicroBatch:
    rows = sum(pick.rows for pick in routing.picks)
    input_ids = torch.full((rows, width), pad_id, dtype=torch.long)
    attention_mask = torch.zeros((rows, width), dtype=torch.long)
    loss_mask = torch.zeros((rows, width), dtype=torch.bool)
    row = 0
    for pick in routing.picks:
        own = slice(row, row + pick.rows)
        input_ids[own, : pick.width] = pick.batch.input_ids
        attention_mask[own, : pick.width] = pick.batch.attention_mask
        loss_mask[own, : pick.width] = pick.batch.loss_mask
        row += pick.rows
    return MicroBatch(
        input_ids,
        attention_mask,
        loss_mask,
        tuple(line for pick in routing.picks for line in pick.batch.lines),
        sum(pick.batch.tokens for pick in routing.picks),
        sum(pick.batch.supervised for pick in routing.picks),
    )

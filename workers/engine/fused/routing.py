"""Which rows of a fused micro-batch belong to which seats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from workers.data.batches import MicroBatch
from workers.engine.dropout import DropoutKey
from workers.engine.fused.stack import Place, Stack, StackedAdapter


@dataclass(frozen=True)
class Pick:
    """One seat's micro-batch of [B, T] tokens in a fused pass."""

    adapter: StackedAdapter
    batch: MicroBatch
    scale: float
    dropout: DropoutKey | None = None

    @property
    def rows(self) -> int:
        """B."""
        return int(self.batch.input_ids.shape[0])

    @property
    def width(self) -> int:
        """T, before padding to its neighbours."""
        return int(self.batch.input_ids.shape[1])


@dataclass(frozen=True)
class Segment:
    """S seats of one stack with B rows each: consecutive rows of the fused batch, seat by seat."""

    stack: Stack
    slots: Tensor
    """[S] int64."""
    contiguous: bool
    """Whether the slots are consecutive, so that views do instead of copies."""
    first_row: int
    picks: tuple[Pick, ...]
    scale: Tensor
    """[S, 1, 1] fp32."""

    @property
    def rows(self) -> slice:
        """Rows of the fused batch."""
        return slice(self.first_row, self.first_row + len(self.picks) * self.picks[0].rows)

    def gather(self, source: Tensor, offset: int, size: int, shape: tuple[int, int]) -> Tensor:
        """[S, *shape] of the stack tensor `source` [C, N]: views of its memory where the slots are consecutive."""
        if self.contiguous:
            rows = source[int(self.slots[0]) : int(self.slots[0]) + len(self.picks), offset : offset + size]
        else:
            rows = source[self.slots, offset : offset + size]
        return rows.view(len(self.picks), *shape)

    def add_gradient(self, offset: int, size: int, gradient: Tensor) -> None:
        """Add `gradient` [S, …] to the rows of the seats."""
        flat = gradient.reshape(len(self.picks), size)
        if self.contiguous:
            first = int(self.slots[0])
            self.stack.gradients[first : first + len(self.picks), offset : offset + size] += flat
        else:
            self.stack.gradients[:, offset : offset + size].index_add_(0, self.slots, flat)


@dataclass(frozen=True)
class Routing:
    """The segments of a fused batch of `rows` x `width` tokens, and the picks in the order of their rows."""

    segments: tuple[Segment, ...]
    picks: tuple[Pick, ...]
    rows: int
    width: int

    def at(self, path: str) -> list[tuple[Segment, Place]]:
        """The segments that adapt the linear at `path`, and where."""
        return [(s, s.stack.layout.places[path]) for s in self.segments if path in s.stack.layout.places]


def route(picks: Sequence[Pick]) -> Routing:
    """Order the picks so that seats of one stack with equally many rows lie together."""
    stacks: Mapping[int, int] = {id(stack): n for n, stack in enumerate(dict.fromkeys(p.adapter.stack for p in picks))}

    def place(pick: Pick) -> tuple[int, int]:
        return stacks[id(pick.adapter.stack)], pick.rows

    ordered = sorted(picks, key=lambda pick: (*place(pick), pick.adapter.slot))
    segments, row = [], 0
    for _, group in groupby(ordered, key=place):
        members = tuple(group)
        segments.append(_segment(members, row))
        row += len(members) * members[0].rows
    return Routing(tuple(segments), tuple(ordered), row, max(pick.width for pick in picks))


def _segment(picks: tuple[Pick, ...], first_row: int) -> Segment:
    stack = picks[0].adapter.stack
    slots = [pick.adapter.slot for pick in picks]
    device = stack.weights.device
    return Segment(
        stack=stack,
        slots=torch.tensor(slots, device=device),
        contiguous=slots == list(range(slots[0], slots[0] + len(slots))),
        first_row=first_row,
        picks=picks,
        scale=torch.tensor([pick.scale for pick in picks], device=device).view(-1, 1, 1),
    )


def fuse(routing: Routing, pad_id: int) -> MicroBatch:
    """The picks' rows as one batch, padded on the right to the widest."""
    input_ids = torch.full((routing.rows, routing.width), pad_id, dtype=torch.long)
    attention_mask = torch.zeros((routing.rows, routing.width), dtype=torch.long)
    loss_mask = torch.zeros((routing.rows, routing.width), dtype=torch.bool)
    row = 0
    for pick in routing.picks:
        rows = slice(row, row + pick.rows)
        input_ids[rows, : pick.width] = pick.batch.input_ids
        attention_mask[rows, : pick.width] = pick.batch.attention_mask
        loss_mask[rows, : pick.width] = pick.batch.loss_mask
        row += pick.rows
    return MicroBatch(
        input_ids,
        attention_mask,
        loss_mask,
        tuple(line for pick in routing.picks for line in pick.batch.lines),
        sum(pick.batch.tokens for pick in routing.picks),
        sum(pick.batch.supervised for pick in routing.picks),
    )

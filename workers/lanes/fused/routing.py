"""Which tokens of a fused micro-batch belong to which seats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor

from workers.data.batches import MicroBatch
from workers.lanes.fused.stack import Stack, StackedAdapter, WeightSlice
from workers.rng import DropoutKey


@dataclass(frozen=True)
class SeatBatch:
    """One seat's micro-batch of [B, T] tokens in a fused pass."""

    adapter: StackedAdapter
    batch: MicroBatch
    dropout: DropoutKey | None = None
    """Key of the masks; None: no dropout, for any probability."""

    @property
    def rows(self) -> int:
        """B."""
        return int(self.batch.input_ids.shape[0])

    @property
    def width(self) -> int:
        """T, before padding to the other seats' width."""
        return int(self.batch.input_ids.shape[1])

    def dropout_mask(self, path: str, like: Tensor, width: int | None) -> Tensor:
        """0 or 1 / (1 - p) for the inputs [P, in] of the linear at `path`; 1 where rows were padded to `width`.

        Keyed by row and position in the seat's own micro-batch, so its location in the fused batch has no effect.
        """
        if self.dropout is None:
            return torch.ones_like(like)
        own = self.dropout.mask(
            path, like.new_empty((self.rows, self.width, like.shape[-1])), self.adapter.form.dropout
        )
        if width is None:
            return own[self.batch.attention_mask.bool().to(own.device)]
        padded = like.new_ones((self.rows, width, like.shape[-1]))
        padded[:, : self.width] = own
        return padded.view_as(like)


@dataclass(frozen=True)
class Segment:
    """S seats of one stack with P tokens each: consecutive tokens of the fused batch, seat by seat."""

    stack: Stack
    slots: Tensor
    """[S] int64."""
    first_slot: int | None
    """The first slot if the slots are consecutive, so that views replace copies; else None."""
    tokens: slice
    """Its tokens in the fused batch, rows end to end."""
    seat_batches: tuple[SeatBatch, ...]
    scale: Tensor
    """[S, 1, 1] fp32."""

    def gather(self, source: Tensor, offset: int, size: int, shape: tuple[int, int]) -> Tensor:
        """[S, *shape] of the stack tensor `source` [C, N]: a view if the slots are consecutive, else a copy."""
        if self.first_slot is None:
            rows = source[self.slots, offset : offset + size]
        else:
            rows = source[self.first_slot : self.first_slot + len(self.seat_batches), offset : offset + size]
        return rows.view(len(self.seat_batches), *shape)

    def add_gradient(self, offset: int, shape: tuple[int, int], left: Tensor, right: Tensor) -> None:
        """Add the products `left` @ `right` [S, *shape] to the gradients of the seats."""
        size = shape[0] * shape[1]
        if self.first_slot is None:
            product = torch.bmm(left, right).view(-1, size)
            self.stack.gradients[:, offset : offset + size].index_add_(0, self.slots, product)
        else:
            self.gather(self.stack.gradients, offset, size, shape).baddbmm_(left, right)


class Fp32Cache:
    """Caches the last tensor in fp32: linears with the same input, such as q, k and v, share the copy."""

    def __init__(self) -> None:
        self._source: Tensor | None = None
        self._wide: Tensor | None = None

    def of(self, source: Tensor) -> Tensor:
        """`source` in fp32."""
        if source.dtype == torch.float32:
            return source
        if self._source is None or self._wide is None or not _same(source, self._source):
            self._source, self._wide = source, source.float()
        return self._wide


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether both share the same unchanged memory. The cache holds it, so no other tensor can have reused it."""
    return one.data_ptr() == other.data_ptr() and one.shape == other.shape and one._version == other._version


@dataclass(frozen=True)
class Routing:
    """The segments of a fused batch of `tokens`, and its seat batches in order."""

    segments: tuple[Segment, ...]
    seat_batches: tuple[SeatBatch, ...]
    tokens: int
    width: int | None
    """Width to which rows are padded; None: rows are packed."""
    fp32: Fp32Cache = field(default_factory=Fp32Cache)

    def at(self, path: str) -> list[tuple[Segment, WeightSlice]]:
        """The segments that adapt the linear at `path`, and its weight slice in each."""
        return [(s, s.stack.layout.places[path]) for s in self.segments if path in s.stack.layout.places]


def route(seat_batches: Sequence[SeatBatch], *, packed: bool) -> Routing:
    """Order the seat batches so that those of one stack with equally many tokens are adjacent."""
    stacks: Mapping[int, int] = {
        id(stack): n for n, stack in enumerate(dict.fromkeys(seat_batch.adapter.stack for seat_batch in seat_batches))
    }
    width = None if packed else max(seat_batch.width for seat_batch in seat_batches)

    def size(seat_batch: SeatBatch) -> int:
        return seat_batch.batch.tokens if width is None else seat_batch.rows * width

    def group_key(seat_batch: SeatBatch) -> tuple[int, int]:
        return stacks[id(seat_batch.adapter.stack)], size(seat_batch)

    ordered = sorted(seat_batches, key=lambda seat_batch: (*group_key(seat_batch), seat_batch.adapter.slot))
    segments, start = [], 0
    for _, group in groupby(ordered, key=group_key):
        members = tuple(group)
        end = start + len(members) * size(members[0])
        segments.append(_segment(members, slice(start, end)))
        start = end
    return Routing(tuple(segments), tuple(ordered), start, width)


def _segment(seat_batches: tuple[SeatBatch, ...], tokens: slice) -> Segment:
    stack = seat_batches[0].adapter.stack
    slots = [seat_batch.adapter.slot for seat_batch in seat_batches]
    device = stack.weights.device
    consecutive = slots == list(range(slots[0], slots[0] + len(slots)))
    return Segment(
        stack=stack,
        slots=torch.tensor(slots, device=device),
        first_slot=slots[0] if consecutive else None,
        tokens=tokens,
        seat_batches=seat_batches,
        scale=torch.tensor([seat_batch.adapter.form.scale for seat_batch in seat_batches], device=device).view(
            -1, 1, 1
        ),
    )

"""The rows of a step, and micro-batches as tensors."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from workers.contract.spec import TrainingSpec
from workers.data.encode import EncodedRow


@dataclass(frozen=True)
class MicroBatch:
    """Rows of one forward pass, padded on the right to the longest one."""

    input_ids: Tensor
    """[B, T] int64."""
    attention_mask: Tensor
    """[B, T] int64: 1 for real tokens."""
    loss_mask: Tensor
    """[B, T] bool: this token carries loss. Never set on the first token or on pads."""
    lines: tuple[int, ...]
    """The rows' lines in the file."""
    tokens: int
    supervised: int
    token_weights: Tensor | None = None
    """[N] fp32: what each token of `loss_mask` counts for in the loss, row by row. None: each counts for 1."""

    @property
    def weight(self) -> float:
        """What its tokens count for together: the loss is divided by it."""
        return float(self.supervised if self.token_weights is None else self.token_weights.double().sum())

    def weighted(self, nll: Tensor) -> Tensor:
        """[N] nll of the tokens of `loss_mask`, each as often as it counts."""
        return nll if self.token_weights is None else nll * self.token_weights

    def inputs(self) -> dict[str, Tensor]:
        """The decoder's arguments."""
        return {"input_ids": self.input_ids, "attention_mask": self.attention_mask}

    def to(self, device: torch.device) -> "MicroBatch":
        """The same batch on `device`."""
        return MicroBatch(
            self.input_ids.to(device),
            self.attention_mask.to(device),
            self.loss_mask.to(device),
            self.lines,
            self.tokens,
            self.supervised,
            None if self.token_weights is None else self.token_weights.to(device),
        )


Collate = Callable[[Sequence[EncodedRow], int], MicroBatch]
"""Rows and the pad id -> one micro-batch."""


@dataclass(frozen=True)
class BatchPlan:
    """The data cursor of a job. It is pure: step n always has the same rows."""

    rows: Sequence[EncodedRow]
    training: TrainingSpec
    seed: int
    pad_id: int
    collate: Collate

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch; the last one may have fewer rows."""
        return -(-len(self.rows) // self.training.batch_size)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole job."""
        return self.training.total_steps(len(self.rows))

    def epoch_after(self, step: int) -> float:
        """Epochs that a seat has finished after `step` steps."""
        return step / self.steps_per_epoch

    def micro_batches(self, step: int) -> list[MicroBatch]:
        """The micro-batches of the step that follows `step` finished ones."""
        epoch, position = divmod(step, self.steps_per_epoch)
        first = position * self.training.batch_size
        chosen = epoch_order(len(self.rows), self.seed, epoch)[first : first + self.training.batch_size]
        size = self.training.micro_batch_size
        groups = [chosen[start : start + size] for start in range(0, len(chosen), size)]
        return [self.collate([self.rows[index] for index in group], self.pad_id) for group in groups]

    def evaluation_batches(self, rows: Sequence[EncodedRow], size: int) -> Iterator[MicroBatch]:
        """Every row once. Rows of similar length share a batch to limit padding. Batches are made one by one."""
        ordered = sorted(rows, key=lambda row: (len(row.input_ids), row.line))
        return (self.collate(ordered[start : start + size], self.pad_id) for start in range(0, len(ordered), size))


@lru_cache(maxsize=64)
def epoch_order(rows: int, seed: int, epoch: int) -> tuple[int, ...]:
    """A permutation of `range(rows)` that depends only on its arguments. Cached, since each step needs it."""
    order = list(range(rows))
    random.Random(f"order:{seed}:{epoch}").shuffle(order)  # noqa: S311 - the row order is no secret
    return tuple(order)


def collate(rows: Sequence[EncodedRow], pad_id: int) -> MicroBatch:
    """Pad `rows` on the right."""
    width = max(len(row.input_ids) for row in rows)
    input_ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    attention_mask = torch.zeros((len(rows), width), dtype=torch.long)
    weights = torch.zeros((len(rows), width))
    for index, row in enumerate(rows):
        length = len(row.input_ids)
        input_ids[index, :length] = torch.frombuffer(row.input_ids, dtype=torch.int32)
        attention_mask[index, :length] = 1
        weights[index, 1:length] = torch.frombuffer(row.loss_weights, dtype=torch.float32)[1:]
    loss_mask = weights > 0
    counted = weights[loss_mask]
    return MicroBatch(
        input_ids,
        attention_mask,
        loss_mask,
        tuple(row.line for row in rows),
        int(attention_mask.sum()),
        len(counted),
        None if bool((counted == 1).all()) else counted,
    )

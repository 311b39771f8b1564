"""The rows of a step, and micro-batches as tensors."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
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
    loss_weights: Tensor
    """[B, T] fp32, from 0 to 1: what predicting this token counts for. 0 on the first token and on pads."""
    lines: tuple[int, ...]
    """The rows' lines in the file."""
    tokens: int
    """Tokens without pads."""
    supervised: int
    """Tokens that carry loss: their weight is not 0."""
    total_weight: float
    """Sum of `loss_weights`. If all are 0 or 1, it equals `supervised`."""

    @classmethod
    def of(
        cls, input_ids: Tensor, attention_mask: Tensor, loss_weights: Tensor, lines: tuple[int, ...]
    ) -> "MicroBatch":
        """The batch of these tensors, with its sums."""
        tokens, supervised = int(attention_mask.sum()), int(loss_weights.count_nonzero())
        total_weight = float(loss_weights.sum(dtype=torch.float64))
        return cls(input_ids, attention_mask, loss_weights, lines, tokens, supervised, total_weight)

    def inputs(self) -> dict[str, Tensor]:
        """The decoder's arguments."""
        return {"input_ids": self.input_ids, "attention_mask": self.attention_mask}

    def to(self, device: torch.device) -> "MicroBatch":
        """The same batch on `device`."""
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            attention_mask=self.attention_mask.to(device),
            loss_weights=self.loss_weights.to(device),
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
    """Pad `rows` on the right. Their buffers are copied first: torch warns of those it may not write to."""
    width = max(len(row.input_ids) for row in rows)
    input_ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    attention_mask = torch.zeros((len(rows), width), dtype=torch.long)
    loss_weights = torch.zeros((len(rows), width))
    for index, row in enumerate(rows):
        length = len(row.input_ids)
        input_ids[index, :length] = torch.frombuffer(bytearray(row.input_ids), dtype=torch.int32)
        attention_mask[index, :length] = 1
        loss_weights[index, 1:length] = torch.frombuffer(bytearray(row.loss_weights), dtype=torch.float32)[1:]
    return MicroBatch.of(input_ids, attention_mask, loss_weights, tuple(row.line for row in rows))

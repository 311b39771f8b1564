"""Adapters of equal rank and targets, as rows of one tensor."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from workers.contract.spec import TrainingSpec
from workers.engine.adapter import EXP_AVG, EXP_AVG_SQ
from workers.engine.optimizer import make_adamw
from workers.methods.linears import PREFIX
from workers.methods.method import LowRankForm, WeightRule

ALIGN: Final = 16  # floats; aligns every row to a cache line and to vector width
MOST_SLOTS: Final = 16  # per stack; more seats get another stack
STACK_BYTES: Final = 1 << 28  # most weights and gradients per stack, unless a single adapter takes more


@dataclass(frozen=True)
class WeightSlice:
    """The slices of a row of N floats that store one linear's A [rank, in] and B [out, rank]."""

    rank: int
    inputs: int
    outputs: int
    a: int
    b: int

    @property
    def a_size(self) -> int:
        """Floats of A."""
        return self.rank * self.inputs

    @property
    def b_size(self) -> int:
        """Floats of B."""
        return self.outputs * self.rank


@dataclass(frozen=True)
class Layout:
    """The weight slices of a whole adapter in one row."""

    places: Mapping[str, WeightSlice]
    size: int

    @classmethod
    def of(cls, rank: int, features: Mapping[str, tuple[int, int]]) -> "Layout":
        """The layout for rank `rank` on linears given as path -> (in, out)."""
        slices, offset = {}, 0
        for path, (inputs, outputs) in features.items():
            at = WeightSlice(rank, inputs, outputs, offset, offset + rank * inputs)
            slices[path] = at
            offset = at.b + at.b_size
        return cls(slices, -(-offset // ALIGN) * ALIGN)

    def named(self, row: Tensor) -> dict[str, Tensor]:
        """Views of a row [N] under PEFT's names of the weights."""
        found: dict[str, Tensor] = {}
        for path, at in self.places.items():
            found[f"{PREFIX}{path}.lora_A.weight"] = row[at.a : at.a + at.a_size].view(at.rank, at.inputs)
            found[f"{PREFIX}{path}.lora_B.weight"] = row[at.b : at.b + at.b_size].view(at.outputs, at.rank)
        return found


class Stack:
    """Rows of weights and gradients [C, N] fp32, allocated slot by slot.

    It never grows: each new seat would move every other seat's rows. Memory of unused slots is not touched.
    """

    def __init__(self, layout: Layout, device: torch.device) -> None:
        self.layout = layout
        self.capacity = min(max(STACK_BYTES // (8 * layout.size), 1), MOST_SLOTS)
        self.weights = torch.empty(self.capacity, layout.size, device=device)
        self.gradients = torch.empty(self.capacity, layout.size, device=device)
        self._free = set(range(self.capacity))

    @property
    def used(self) -> int:
        """Slots in use."""
        return self.capacity - len(self._free)

    def take(self, name: str, form: LowRankForm, training: TrainingSpec) -> "StackedAdapter":
        """The lowest free slot, zeroed. There must be one."""
        slot = min(self._free)
        self.weights[slot].zero_()
        self.gradients[slot].zero_()
        adapter = StackedAdapter(name, self, slot, form, training)
        self._free.remove(slot)
        return adapter

    def give_back(self, slot: int) -> None:
        """Free the slot."""
        self._free.add(slot)


class StackedAdapter:
    """One slot of a stack as an `Adapter`. Its AdamW treats the whole row as a single parameter."""

    def __init__(self, name: str, stack: Stack, slot: int, form: LowRankForm, training: TrainingSpec) -> None:
        self.name = name
        self.stack = stack
        self.slot = slot
        self.form = form
        self.row = nn.Parameter(stack.weights[slot])
        self.row.grad = stack.gradients[slot]
        self.optimizer = make_adamw({WeightRule(): [self.row]}, training)

    def weights(self) -> Mapping[str, Tensor]:
        """See `Adapter.weights`."""
        return self.stack.layout.named(self.row.detach())

    def gradients(self) -> Mapping[str, Tensor]:
        """Accumulated gradients, by weight name."""
        return self.stack.layout.named(self.stack.gradients[self.slot])

    def moments(self) -> Mapping[str, Tensor]:
        """See `Adapter.moments`."""
        state = self.optimizer.state.get(self.row)
        if not state:
            return {}
        named = {part: self.stack.layout.named(state[part]) for part in (EXP_AVG, EXP_AVG_SQ)}
        return {f"{name}:{part}": view for part, views in named.items() for name, view in views.items()}

    def load(self, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor], updates: int) -> None:
        """See `Adapter.load`."""
        for name, view in self.weights().items():
            view.copy_(weights[name])
        if not moments:
            return
        state: dict[str, Tensor] = {"step": torch.tensor(float(updates))}
        for part in (EXP_AVG, EXP_AVG_SQ):
            state[part] = torch.zeros_like(self.row.data)
            for name, view in self.stack.layout.named(state[part]).items():
                view.copy_(moments[f"{name}:{part}"])
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": {0: state}, "param_groups": groups})

    def clear_gradients(self) -> None:
        """Start a new accumulation window."""
        self.stack.gradients[self.slot].zero_()

"""Adapters of equal rank and targets, as rows of one tensor."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from workers.contract.spec import TrainingSpec
from workers.engine.adapter import EXP_AVG, EXP_AVG_SQ
from workers.engine.lora import PREFIX
from workers.engine.optimizer import make_adamw

ALIGN: Final = 16  # floats; keeps every row on a cache line and the vector units fed
FIRST_CAPACITY: Final = 4  # rows; doubled when full


@dataclass(frozen=True)
class Place:
    """Where one linear's A [rank, in] and B [out, rank] lie in a row of N floats."""

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
    """How a whole adapter is laid out in one row."""

    places: Mapping[str, Place]
    size: int

    @classmethod
    def of(cls, rank: int, features: Mapping[str, tuple[int, int]]) -> "Layout":
        """The layout of rank `rank` on linears given as path -> (in, out)."""
        places, offset = {}, 0
        for path, (inputs, outputs) in features.items():
            place = Place(rank, inputs, outputs, offset, offset + rank * inputs)
            places[path] = place
            offset = place.b + place.b_size
        return cls(places, -(-offset // ALIGN) * ALIGN)

    def named(self, row: Tensor) -> dict[str, Tensor]:
        """Views of a row [N] under the names PEFT gives the weights."""
        found: dict[str, Tensor] = {}
        for path, at in self.places.items():
            found[f"{PREFIX}{path}.lora_A.weight"] = row[at.a : at.a + at.a_size].view(at.rank, at.inputs)
            found[f"{PREFIX}{path}.lora_B.weight"] = row[at.b : at.b + at.b_size].view(at.outputs, at.rank)
        return found


class Stack:
    """Rows of weights and gradients [C, N] fp32, handed out slot by slot. Growing keeps every slot where it is."""

    def __init__(self, layout: Layout, device: torch.device) -> None:
        self.layout = layout
        self.weights = torch.zeros(0, layout.size, device=device)
        self.gradients = torch.zeros(0, layout.size, device=device)
        self._taken: dict[int, StackedAdapter] = {}

    @property
    def used(self) -> int:
        """Slots taken."""
        return len(self._taken)

    def take(self, name: str, training: TrainingSpec) -> "StackedAdapter":
        """The lowest free slot, zeroed."""
        slot = next(slot for slot in range(len(self._taken) + 1) if slot not in self._taken)
        if slot >= self.weights.shape[0]:
            self._grow()
        self.weights[slot].zero_()
        self.gradients[slot].zero_()
        self._taken[slot] = StackedAdapter(name, self, slot, training)
        return self._taken[slot]

    def give_back(self, slot: int) -> None:
        """Free the slot; what it held is forgotten."""
        del self._taken[slot]

    def _grow(self) -> None:
        capacity = max(FIRST_CAPACITY, 2 * self.weights.shape[0])
        for name in ("weights", "gradients"):
            old: Tensor = getattr(self, name)
            new = torch.zeros(capacity, self.layout.size, device=old.device)
            new[: old.shape[0]] = old
            setattr(self, name, new)
        for adapter in self._taken.values():
            adapter.attach()


class StackedAdapter:
    """One slot of a stack as an `Adapter`. Its AdamW sees the whole row as a single parameter."""

    def __init__(self, name: str, stack: Stack, slot: int, training: TrainingSpec) -> None:
        self.name = name
        self.stack = stack
        self.slot = slot
        self.row = nn.Parameter(stack.weights[slot])
        self.attach()
        self.optimizer = make_adamw([self.row], training)

    def attach(self) -> None:
        """Point the row at the stack's memory, which growing has moved."""
        self.row.data = self.stack.weights[self.slot]
        self.row.grad = self.stack.gradients[self.slot]

    def weights(self) -> Mapping[str, Tensor]:
        """See `Adapter.weights`."""
        return self.stack.layout.named(self.row.detach())

    def gradients(self) -> Mapping[str, Tensor]:
        """Accumulated gradients, by the names of the weights."""
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

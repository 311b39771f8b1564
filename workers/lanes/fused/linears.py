"""Hooks the adapters onto the base's linears. No module is replaced, so every architecture and quantization works."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from workers.bases import LoadedBase
from workers.contract.errors import UserError
from workers.contract.spec import JobSpec
from workers.lanes.fused.delta import StackedDelta
from workers.lanes.fused.routing import Routing
from workers.lanes.fused.stack import Layout, Stack, StackedAdapter
from workers.methods import METHODS
from workers.methods.linears import adaptable_linears, features_of


class AdaptedLinears:
    """The stacks of one base, and a forward hook on every linear that a stack adapts."""

    def __init__(self, base: LoadedBase) -> None:
        self._linears = adaptable_linears(base.model)
        self._device = base.device
        self._stacks: dict[tuple[int, tuple[str, ...]], list[Stack]] = {}
        self._hooks: dict[str, Any] = {}
        self._routing: Routing | None = None
        self._made = 0
        self._anchor = torch.zeros((), device=base.device, requires_grad=True)

    def open(self, spec: JobSpec) -> StackedAdapter:
        """A new adapter in a stack of its rank and targets. On any error its slot is freed.

        Raises InvalidTargetModules.
        """
        method = METHODS.of(spec.method)
        form = method.fused_form(spec.method, self._linears)
        if form is None:
            raise UserError(f"method '{spec.method.type}' has no fused form; submit the job again")
        self._made += 1
        adapter = self._roomy(form.rank, form.targets).take(f"seat{self._made}", form, spec.training)
        try:
            method.initialize(spec.method, adapter.weights(), spec.seed)
        except BaseException:
            self.close(adapter)
            raise
        for path in form.targets:
            if path not in self._hooks:
                self._hooks[path] = self._linears[path].register_forward_hook(self._hook(path))
        return adapter

    def close(self, adapter: StackedAdapter) -> None:
        """Free the adapter's slot. Drop empty stacks and hooks that serve no stack."""
        adapter.stack.give_back(adapter.slot)
        used = {key: [stack for stack in stacks if stack.used] for key, stacks in self._stacks.items()}
        self._stacks = {key: stacks for key, stacks in used.items() if stacks}
        served = {path for _, targets in self._stacks for path in targets}
        for path in set(self._hooks) - served:
            self._hooks.pop(path).remove()

    def _roomy(self, rank: int, targets: tuple[str, ...]) -> Stack:
        """A stack of this rank and these targets with a free slot, created when there is none."""
        stacks = self._stacks.setdefault((rank, targets), [])
        for stack in stacks:
            if stack.used < stack.capacity:
                return stack
        stacks.append(
            Stack(Layout.of(rank, {path: features_of(self._linears[path]) for path in targets}), self._device)
        )
        return stacks[-1]

    @contextmanager
    def routed(self, routing: Routing) -> Iterator[None]:
        """Apply the adapters of `routing` in this block. It must span the backward pass: recomputation reruns hooks."""
        self._routing = routing
        try:
            yield
        finally:
            self._routing = None

    def _hook(self, path: str) -> Any:
        def add_delta(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if self._routing is None or not self._routing.at(path):
                return output
            changed: Tensor = StackedDelta.apply(output, inputs[0], self._anchor, self._routing, path)  # type: ignore[no-untyped-call]
            return changed

        return add_delta

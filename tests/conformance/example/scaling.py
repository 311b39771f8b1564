"""The torch half of the example, through PEFT's own (IA)³."""

from collections.abc import Mapping, Sequence

import torch
from peft import IA3Config
from torch import Tensor, nn

from tests.conformance.example.scaling_spec import Scaling
from workers.contract.methods.method import below
from workers.methods import METHODS
from workers.methods.linears import PREFIX, chosen_linears, features_of
from workers.methods.peft import PeftMethod


@METHODS.register(Scaling)
class ScalingMethod(PeftMethod):
    """One vector for each adapted linear."""

    def config(self, spec: Scaling, decoder: str | None, linears: Sequence[str]) -> IA3Config:
        modules = below(decoder, spec.target_modules)
        return IA3Config(task_type="CAUSAL_LM", target_modules=modules, feedforward_modules=[])

    def shapes(self, spec: Scaling, linears: Mapping[str, nn.Module]) -> dict[str, tuple[int, ...]]:
        paths = chosen_linears(spec.target_modules, linears)
        return {f"{PREFIX}{path}.ia3_l": (features_of(linears[path])[1], 1) for path in paths}

    def initialize(self, spec: Scaling, weights: Mapping[str, Tensor], seed: int) -> None:
        with torch.no_grad():
            for weight in weights.values():
                weight.fill_(1.0)

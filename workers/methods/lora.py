"""LoRA (arXiv 2106.09685): PEFT's in the solo lane, stacked with others' in the fused lane."""

import math
from collections.abc import Mapping

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from workers.contract.methods import Lora
from workers.methods.linears import PREFIX
from workers.methods.method import METHODS, LowRankForm, WeightRule
from workers.methods.peft import PeftMethod, targets_of
from workers.rng import KeyedDropout, derive_seed


@METHODS.register(Lora)
class LoraMethod(PeftMethod):
    """Two matrices beside each adapted linear; only they are trained."""

    def initialize(self, spec: Lora, weights: Mapping[str, Tensor], seed: int) -> None:
        """Kaiming-uniform A and zero B, as PEFT does it, but from the job's own generator."""
        generator = torch.Generator().manual_seed(derive_seed(seed, "adapter"))
        with torch.no_grad():
            for name in sorted(weights):
                weight = weights[name]
                if ".lora_A." in name:
                    fresh = torch.empty(weight.shape)
                    nn.init.kaiming_uniform_(fresh, a=math.sqrt(5), generator=generator)
                    weight.copy_(fresh)
                elif ".lora_B." in name:
                    weight.zero_()  # DoRA's lengths are those of the base, which PEFT has measured

    def rule(self, spec: Lora, name: str) -> WeightRule:
        """See `TrainableMethod.rule`: LoRA+ has B, and every vector, learn faster."""
        return WeightRule() if spec.lr_ratio is None or ".lora_A." in name else WeightRule(rate=spec.lr_ratio)

    def fused_form(self, spec: Lora, linears: Mapping[str, nn.Module]) -> LowRankForm | None:
        """See `TrainableMethod.fused_form`."""
        if spec.unfusible() is not None:
            return None
        return LowRankForm(spec.rank, spec.scale, spec.dropout, tuple(targets_of(spec, linears)))

    def dropouts(self, spec: Lora, model: PeftModel, name: str) -> list[KeyedDropout]:
        """See `PeftMethod.dropouts`."""
        if not spec.dropout:
            return []
        placed = []
        for path, module in model.named_modules():
            if isinstance(module, LoraLayer) and name in module.lora_dropout:
                dropout = KeyedDropout(path.removeprefix(PREFIX), spec.dropout)
                module.lora_dropout[name] = dropout
                placed.append(dropout)
        return placed

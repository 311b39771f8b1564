"""LoRA (arXiv 2106.09685): PEFT's in the solo lane, stacked with others' in the fused lane."""

import math
from collections.abc import Mapping, Sequence

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from workers.contract.methods import Lora
from workers.methods.linears import PREFIX, chosen_linears, features_of
from workers.methods.method import METHODS, LowRankForm
from workers.methods.peft import PeftMethod
from workers.rng import KeyedDropout, derive_seed


@METHODS.register(Lora)
class LoraMethod(PeftMethod):
    """Two matrices beside each adapted linear; only they are trained."""

    def config(self, spec: Lora, decoder: str | None, linears: Sequence[str]) -> LoraConfig:
        """See `PeftMethod.config`."""
        alpha = 2.0 * spec.rank if spec.alpha is None else spec.alpha
        return LoraConfig(
            task_type="CAUSAL_LM",
            r=spec.rank,
            lora_alpha=int(alpha) if alpha.is_integer() else alpha,
            lora_dropout=spec.dropout,
            target_modules=spec.stock_targets(decoder, linears),
            use_rslora=spec.rslora,
            bias="none",
        )

    def shapes(self, spec: Lora, linears: Mapping[str, nn.Module]) -> dict[str, tuple[int, ...]]:
        """See `TrainableMethod.shapes`: A [r, in] and B [out, r]."""
        shapes: dict[str, tuple[int, ...]] = {}
        for path in _targets(spec, linears):
            inputs, outputs = features_of(linears[path])
            shapes[f"{PREFIX}{path}.lora_A.weight"] = (spec.rank, inputs)
            shapes[f"{PREFIX}{path}.lora_B.weight"] = (outputs, spec.rank)
        return shapes

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
                else:
                    weight.zero_()

    def fused_form(self, spec: Lora, linears: Mapping[str, nn.Module]) -> LowRankForm:
        """See `TrainableMethod.fused_form`."""
        return LowRankForm(spec.rank, spec.scale, spec.dropout, tuple(_targets(spec, linears)))

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


def _targets(spec: Lora, linears: Mapping[str, nn.Module]) -> list[str]:
    return list(linears) if spec.all_linear else chosen_linears(spec.target_modules, linears)

"""What LoRA is on a base, whoever trains it: which linears it may sit on, how it starts, what PEFT calls it."""

import math
from collections.abc import Mapping

import torch
from peft import LoraConfig
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from workers.contract.errors import InvalidTargetModules
from workers.contract.spec import LoraMethod
from workers.engine.seeds import derive_seed

PREFIX = "base_model.model."
"""What PEFT puts before a module's path in the names of weights."""


def scale_of(method: LoraMethod) -> float:
    """alpha / r, or alpha / sqrt(r) with rslora (arXiv 2312.03732)."""
    return method.alpha / (math.sqrt(method.rank) if method.rslora else method.rank)


def adaptable_linears(model: nn.Module) -> dict[str, nn.Module]:
    """Linears by path that an adapter may sit on: all but the output head, which the loss needs frozen."""
    head = model.get_output_embeddings()  # type: ignore[operator]  # every causal language model has it
    linears = ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D))
    return {name: module for name, module in linears if module is not head}


def targets_of(method: LoraMethod, linears: Mapping[str, nn.Module]) -> list[str]:
    """The paths that `method` adapts, in the base's order. Raises InvalidTargetModules."""
    require_targets(method, linears)
    wanted = set(method.target_modules)
    return [path for path in linears if path.rpartition(".")[2] in wanted]


def adapter_shapes(method: LoraMethod, linears: Mapping[str, nn.Module]) -> dict[str, tuple[int, ...]]:
    """The weights an adapter will have, by the names of `Adapter.weights`. Raises InvalidTargetModules."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in targets_of(method, linears):
        inputs, outputs = features_of(linears[path])
        shapes[f"{PREFIX}{path}.lora_A.weight"] = (method.rank, inputs)
        shapes[f"{PREFIX}{path}.lora_B.weight"] = (outputs, method.rank)
    return shapes


def require_targets(method: LoraMethod, linears: Mapping[str, nn.Module]) -> None:
    """Raises InvalidTargetModules when the base has no linear of one of the names."""
    known = {path.rpartition(".")[2] for path in linears}
    if unknown := sorted(set(method.target_modules) - known):
        raise InvalidTargetModules(
            f"the base has no linear named {', '.join(unknown)}; it has {', '.join(sorted(known))}"
        )


def features_of(linear: nn.Module) -> tuple[int, int]:
    """(in, out) of a linear, however it stores its weight."""
    if isinstance(linear, Conv1D):
        return int(linear.weight.shape[0]), int(linear.nf)
    return int(linear.in_features), int(linear.out_features)  # type: ignore[arg-type]  # every other one is nn.Linear


def initialise(weights: Mapping[str, Tensor], seed: int) -> None:
    """Kaiming-uniform A and zero B, as PEFT does it, but from the job's own generator: order and slot do not matter."""
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


def lora_config(method: LoraMethod) -> LoraConfig:
    """PEFT's name for `method`."""
    alpha = int(method.alpha) if float(method.alpha).is_integer() else method.alpha
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=method.rank,
        lora_alpha=alpha,
        lora_dropout=method.dropout,
        target_modules=list(method.target_modules),
        use_rslora=method.rslora,
        bias="none",
    )

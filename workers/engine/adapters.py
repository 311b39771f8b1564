"""LoRA adapters on the resident base, made and addressed through stock PEFT."""

import math
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from workers.bases import LoadedBase
from workers.contract.errors import InvalidTargetModules
from workers.contract.spec import LoraMethod
from workers.engine.seat import Adapter
from workers.engine.seeds import derive_seed


class AdapterRack:
    """The adapters that sit in one base's linears side by side; one at a time is active."""

    def __init__(self, base: LoadedBase) -> None:
        self._model = base.model
        self._peft: Any = None
        self._made = 0
        self._active: str | None = None
        self._linears = _adaptable(base.model)

    def add(self, method: LoraMethod, seed: int) -> Adapter:
        """A fresh adapter: A from `seed` alone, B zero. Raises InvalidTargetModules."""
        unknown = sorted(set(method.target_modules) - self._linears)
        if unknown:
            raise InvalidTargetModules(
                f"the base has no linear named {', '.join(unknown)}; it has {', '.join(sorted(self._linears))}"
            )
        self._made += 1
        name = f"seat{self._made}"
        config = lora_config(method)
        if self._peft is None:
            self._peft = get_peft_model(self._model, config, adapter_name=name)
        else:
            self._peft.add_adapter(name, config)
        self._active = None
        weights = _weights(self._peft, name)
        _initialise(weights, seed)
        return Adapter(name, weights)

    def remove(self, adapter: Adapter) -> None:
        """Take the adapter out of the base's linears."""
        for weight in adapter.weights.values():
            weight.grad = None
        self._active = None
        self._peft.delete_adapter(adapter.name)

    def activate(self, adapter: Adapter, *, training: bool) -> None:
        """Let `adapter`, and no other, act in the next forward passes."""
        if self._active != adapter.name:  # walks every module of the base
            self._peft.set_adapter(adapter.name)
            self._active = adapter.name
        self._peft.train(training)


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


def _adaptable(model: nn.Module) -> frozenset[str]:
    """Last name parts of the linears an adapter may sit on: all but the output head, which the loss needs frozen."""
    head = model.get_output_embeddings()  # type: ignore[operator]  # every causal language model has it
    linears = ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear))
    return frozenset(name.rpartition(".")[2] for name, module in linears if module is not head)


def _weights(model: PeftModel, adapter_name: str) -> dict[str, nn.Parameter]:
    marker = f".{adapter_name}."
    named = ((name, weight) for name, weight in model.named_parameters() if "lora_" in name and marker in name)
    return {name.replace(marker, "."): weight for name, weight in named}


def _initialise(weights: dict[str, nn.Parameter], seed: int) -> None:
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

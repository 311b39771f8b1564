"""LoRA adapters on the resident base, made and addressed through stock PEFT, each with an AdamW of its own."""

from collections.abc import Mapping
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from workers.bases import LoadedBase
from workers.contract.errors import NoGradient
from workers.contract.spec import JobSpec
from workers.engine.adapter import EXP_AVG, EXP_AVG_SQ
from workers.engine.dropout import DropoutKey, KeyedDropout
from workers.engine.lora import PREFIX, adaptable_linears, initialise, lora_config, require_targets
from workers.engine.optimizer import make_adamw
from workers.engine.still import still


class PeftAdapter:
    """An `Adapter` whose weights are PEFT's own parameters."""

    def __init__(self, name: str, parameters: Mapping[str, nn.Parameter], spec: JobSpec) -> None:
        self.name = name
        self.by_name = parameters
        self.parameters = [parameters[key] for key in sorted(parameters)]
        self.optimizer = make_adamw(self.parameters, spec.training)
        self._dropouts: list[KeyedDropout] = []
        self._gradients_seen = False

    def use(self, dropouts: list[KeyedDropout]) -> None:
        """Take the dropout modules that act on this adapter."""
        self._dropouts = dropouts

    def train_dropouts(self, training: bool) -> None:
        """Let the masks act, or not."""
        for dropout in self._dropouts:
            dropout.train(training)

    def drop(self, key: DropoutKey) -> None:
        """Choose the masks of the next micro-batch."""
        for dropout in self._dropouts:
            dropout.key = key

    def weights(self) -> Mapping[str, Tensor]:
        """See `Adapter.weights`."""
        return self.by_name

    def moments(self) -> Mapping[str, Tensor]:
        """See `Adapter.moments`."""
        states = {name: self.optimizer.state.get(self.by_name[name]) for name in sorted(self.by_name)}
        return {
            f"{name}:{part}": state[part] for name, state in states.items() if state for part in (EXP_AVG, EXP_AVG_SQ)
        }

    def load(self, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor], updates: int) -> None:
        """See `Adapter.load`."""
        with torch.no_grad():
            for name, weight in self.by_name.items():
                weight.copy_(weights[name])
        state = {
            index: {part: moments[f"{name}:{part}"].clone() for part in (EXP_AVG, EXP_AVG_SQ)}
            | {"step": torch.tensor(float(updates))}
            for index, name in enumerate(sorted(self.by_name))
            if moments
        }
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def require_gradients(self) -> None:
        """On the first step: every trainable tensor has a gradient. Raises NoGradient."""
        if not self._gradients_seen:
            missing = [name for name, weight in self.by_name.items() if weight.grad is None]
            if missing:
                raise NoGradient(f"{len(missing)} of {len(self.by_name)} tensors got none, first {missing[0]}")
            self._gradients_seen = True


class AdapterRack:
    """The adapters that sit in one base's linears side by side; one at a time is active."""

    def __init__(self, base: LoadedBase) -> None:
        self._model = base.model
        self._peft: Any = None
        self._made = 0
        self._active: str | None = None
        self._linears = adaptable_linears(base.model)

    def add(self, spec: JobSpec) -> PeftAdapter:
        """A fresh adapter: A from the job's seed alone, B zero. Raises InvalidTargetModules."""
        require_targets(spec.method, self._linears)
        self._made += 1
        name = f"seat{self._made}"
        config = lora_config(spec.method)
        if self._peft is None:
            self._peft = get_peft_model(self._model, config, adapter_name=name)
        else:
            self._peft.add_adapter(name, config)
        self._active = None
        weights = _weights(self._peft, name)
        initialise(weights, spec.seed)
        adapter = PeftAdapter(name, weights, spec)
        if spec.method.dropout:
            adapter.use(_key_dropouts(self._peft, name))
        return adapter

    def remove(self, adapter: PeftAdapter) -> None:
        """Take the adapter out of the base's linears."""
        adapter.optimizer.zero_grad(set_to_none=True)
        self._active = None
        self._peft.delete_adapter(adapter.name)

    def activate(self, adapter: PeftAdapter, *, training: bool) -> None:
        """Let `adapter`, and no other, act in the next forward passes."""
        if self._active != adapter.name:  # walks every module of the base
            self._peft.set_adapter(adapter.name)
            self._active = adapter.name
        still(self._model)
        adapter.train_dropouts(training)


def _key_dropouts(model: PeftModel, adapter_name: str) -> list[KeyedDropout]:
    """Put keyed dropout in the place of PEFT's, which draws from a stream that all jobs share."""
    placed = []
    for path, module in model.named_modules():
        if isinstance(module, LoraLayer) and adapter_name in module.lora_dropout:
            dropout = KeyedDropout(path.removeprefix(PREFIX))
            module.lora_dropout[adapter_name] = dropout
            placed.append(dropout)
    return placed


def _weights(model: PeftModel, adapter_name: str) -> dict[str, nn.Parameter]:
    marker = f".{adapter_name}."
    named = ((name, weight) for name, weight in model.named_parameters() if "lora_" in name and marker in name)
    return {name.replace(marker, "."): weight for name, weight in named}

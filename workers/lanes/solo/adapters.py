"""The adapters of a base's seats: each is attached by its method and has its own AdamW. One is active at a time."""

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor

from workers.bases import LoadedBase
from workers.contract.errors import NoGradient
from workers.contract.spec import JobSpec
from workers.engine.adapter import EXP_AVG, EXP_AVG_SQ
from workers.engine.guards import freeze_base
from workers.engine.optimizer import make_adamw
from workers.methods import METHODS, Attachment, Site, WeightRule
from workers.rng import DropoutKey


class SoloAdapter:
    """An `Adapter` over the weights that its method attached."""

    def __init__(self, name: str, attachment: Attachment, spec: JobSpec) -> None:
        self.name = name
        self.attachment = attachment
        self.by_name = attachment.weights
        method, by_rule = METHODS.of(spec.method), defaultdict[WeightRule, list[str]](list)
        for key in sorted(self.by_name):
            by_rule[method.rule(spec.method, key)].append(key)
        self._order = [key for keys in by_rule.values() for key in keys]
        """As the optimizer numbers them."""
        groups = {rule: [self.by_name[key] for key in keys] for rule, keys in by_rule.items()}
        self.optimizer = make_adamw(groups, spec.training)
        self._gradients_seen = False

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
            for index, name in enumerate(self._order)
            if moments
        }
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def require_gradients(self) -> None:
        """On the first step, check that every trainable tensor has a gradient. Raises NoGradient."""
        if not self._gradients_seen:
            missing = [name for name, weight in self.by_name.items() if weight.grad is None]
            if missing:
                raise NoGradient(
                    f"{len(missing)} of {len(self.by_name)} tensors received no gradient, first {missing[0]}"
                )
            self._gradients_seen = True


class AdapterPool:
    """The adapters attached to one base."""

    def __init__(self, base: LoadedBase) -> None:
        self._site = Site.of(base.model)
        self._made = 0
        self._active: str | None = None

    def add(self, spec: JobSpec) -> SoloAdapter:
        """A new adapter, initialized from the job's seed only. Raises InvalidTargetModules."""
        self._made += 1
        name = f"seat{self._made}"
        method = METHODS.of(spec.method)
        self._active = None
        attachment = method.attach(spec.method, self._site, name, spec.seed)
        method.initialize(spec.method, attachment.weights, spec.seed)
        return SoloAdapter(name, attachment, spec)

    def remove(self, adapter: SoloAdapter) -> None:
        """Detach the adapter from the base."""
        adapter.optimizer.zero_grad(set_to_none=True)
        self._active = None
        adapter.attachment.detach()

    def activate(self, adapter: SoloAdapter, dropout: DropoutKey | None) -> None:
        """Make `adapter` the only active one in the next forward pass, with these dropout masks."""
        if self._active != adapter.name:  # activating walks every module of the base
            adapter.attachment.activate()
            self._active = adapter.name
        freeze_base(self._site.model)
        adapter.attachment.set_dropout(dropout)

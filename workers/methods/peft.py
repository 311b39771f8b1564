"""What the methods of the PEFT library have in common: wrapping, naming, exporting."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file
from torch import Tensor, nn

from workers.contract.errors import InvalidTargetModules
from workers.contract.methods.on_linears import OnLinears
from workers.contract.spec import JobSpec
from workers.methods.linears import chosen_linears, features_of, last_names
from workers.methods.method import LowRankForm, Site, WeightRule
from workers.rng import DropoutKey, KeyedDropout, derive_seed


class PeftAttachment:
    """An `Attachment` whose weights are PEFT's own parameters."""

    def __init__(
        self, site: Site, name: str, weights: Mapping[str, nn.Parameter], dropouts: Sequence[KeyedDropout]
    ) -> None:
        self.weights = weights
        self._site = site
        self._name = name
        self._dropouts = dropouts

    def activate(self) -> None:
        """See `Attachment.activate`."""
        self._site.wrapper.set_adapter(self._name)

    def set_dropout(self, key: DropoutKey | None) -> None:
        """See `Attachment.set_dropout`."""
        for dropout in self._dropouts:
            dropout.train(key is not None)
            dropout.key = key

    def detach(self) -> None:
        """See `Attachment.detach`."""
        wrapper = self._site.wrapper
        if len(wrapper.peft_config) > 1:
            wrapper.delete_adapter(self._name)
        else:  # the next one may be of another method
            _unwrap(self._site)


class PeftMethod:
    """A method that PEFT implements on linears. Its spec says the configuration; a subclass what PEFT leaves open."""

    def config(self, spec: OnLinears, decoder: str | None, linears: Sequence[str]) -> PeftConfig:
        """PEFT's configuration of `spec` that selects linears of the decoder alone: by name where `decoder` is None,
        else below that path. `linears`: the names of all that the base offers.
        """
        options = spec.peft_options() | {"target_modules": spec.stock_targets(decoder, linears)}
        config: PeftConfig = PEFT_TYPE_TO_CONFIG_MAPPING[spec.peft_type](task_type="CAUSAL_LM", **options)
        return config

    def rule(self, spec: Any, name: str) -> WeightRule:
        """See `TrainableMethod.rule`."""
        return WeightRule()

    def dropouts(self, spec: Any, model: PeftModel, name: str) -> list[KeyedDropout]:
        """Put keyed dropout in the place of PEFT's, which draws from a stream that all jobs share."""
        return []

    def fused_form(self, spec: Any, linears: Mapping[str, nn.Module]) -> LowRankForm | None:
        """See `TrainableMethod.fused_form`: none, unless a subclass knows one."""
        return None

    def shapes(self, spec: OnLinears, site: Site) -> dict[str, tuple[int, ...]]:
        """See `TrainableMethod.shapes`: those of PEFT's own weights beside linears of these sizes without memory."""
        skeleton = _skeleton({path: site.linears[path] for path in targets_of(spec, site.linears)})
        options = spec.peft_options() | {"target_modules": [*last_names(site.linears)]}
        config = PEFT_TYPE_TO_CONFIG_MAPPING[spec.peft_type](**options)
        with _refusals_named():
            model = get_peft_model(skeleton, config, adapter_name="shape", low_cpu_mem_usage=True)
        return {name: tuple(weight.shape) for name, weight in _weights_of(model, "shape").items()}

    def attach(self, spec: OnLinears, site: Site, name: str, seed: int) -> PeftAttachment:
        """See `TrainableMethod.attach`. The first one wraps the model, the last one to go unwraps it. PEFT writes the
        first weights, from the job's seed alone.
        """
        targets_of(spec, site.linears)  # refuses what the base does not have in our words, not in PEFT's
        config = self.config(spec, site.decoder, sorted(last_names(site.linears)))
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(seed, "adapter"))
            if site.wrapper is None:
                site.wrapper = get_peft_model(site.model, config, adapter_name=name)
            else:
                site.wrapper.add_adapter(name, config)
        _keep_dtypes(site.wrapper)
        return PeftAttachment(site, name, _weights_of(site.wrapper, name), self.dropouts(spec, site.wrapper, name))

    def initialize(self, spec: Any, weights: Mapping[str, Tensor], seed: int) -> None:
        """See `TrainableMethod.initialize`: `attach` has done it."""

    def export(self, job: JobSpec, weights: Mapping[str, Tensor], folder: Path) -> None:
        """See `TrainableMethod.export`: `adapter_config.json` and `adapter_model.safetensors`."""
        shape = job.base.shape
        config = self.config(job.method, shape.decoder, shape.linear_names)  # type: ignore[arg-type]
        config.inference_mode = True
        config.base_model_name_or_path = job.base.location
        config.revision = job.base.revision
        config.save_pretrained(folder)
        whole = {name: weight.contiguous() for name, weight in weights.items()}
        save_file(whole, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    def load(self, model: nn.Module, folder: Path) -> nn.Module:
        """See `TrainableMethod.load`."""
        loaded: nn.Module = PeftModel.from_pretrained(model, folder)
        return loaded


@contextmanager
def _refusals_named() -> Iterator[None]:
    """What PEFT does not take on linears of these sizes is the job's: it would not on another host either."""
    try:
        yield
    except ValueError as error:
        raise InvalidTargetModules(f"PEFT refuses the method's options on this base: {error}") from error


def targets_of(spec: OnLinears, linears: Mapping[str, nn.Module]) -> list[str]:
    """Paths of the linears that `spec` adapts. Raises: InvalidTargetModules."""
    return list(linears) if spec.all_linear else chosen_linears(spec.target_modules, linears)


def _keep_dtypes(model: nn.Module) -> None:
    """Have every adapted linear answer in the type that it was asked in. Adapters are fp32, and some tuners pass that
    on over a quantized base in bf16, where attention refuses to mix them.
    """
    for module in model.modules():
        if isinstance(module, BaseTunerLayer) and not module._forward_hooks:
            module.register_forward_hook(_in_type_of_input)


def _in_type_of_input(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.to(inputs[0].dtype)


def _unwrap(site: Site) -> None:
    """Put the linears back where they were. PEFT's own way refuses some tuners over quantized linears."""
    for path, linear in site.linears.items():
        above, _, last = path.rpartition(".")
        setattr(site.model.get_submodule(above), last, linear)
    if hasattr(site.model, "peft_config"):
        del site.model.peft_config
    site.wrapper = None


def _skeleton(linears: Mapping[str, nn.Module]) -> nn.Module:
    """A model of linears of the same paths and sizes, on the meta device."""
    root = nn.Module()
    for path, linear in linears.items():
        *above, last = path.split(".")
        place = root
        for part in above:
            if not hasattr(place, part):
                setattr(place, part, nn.Module())
            place = getattr(place, part)
        inputs, outputs = features_of(linear)
        bias = getattr(linear, "bias", None) is not None
        setattr(place, last, nn.Linear(inputs, outputs, bias=bias, device="meta"))
    return root


def _weights_of(model: PeftModel, adapter_name: str) -> dict[str, nn.Parameter]:
    """Parameters of the adapter under the names PEFT stores them by, which leave out the adapter's name."""
    found = {}
    for name, weight in model.named_parameters():
        parts = name.split(".")
        if adapter_name in parts:
            found[".".join(part for part in parts if part != adapter_name)] = weight
    return found

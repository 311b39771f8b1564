"""What the methods of the PEFT library have in common: wrapping, naming, exporting."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from torch import Tensor, nn

from workers.contract.methods import MethodSpec
from workers.contract.spec import JobSpec
from workers.methods.linears import last_names
from workers.methods.method import LowRankForm, Site
from workers.rng import DropoutKey, KeyedDropout


class PeftAttachment:
    """An `Attachment` whose weights are PEFT's own parameters."""

    def __init__(
        self, model: PeftModel, name: str, weights: Mapping[str, nn.Parameter], dropouts: Sequence[KeyedDropout]
    ) -> None:
        self.weights = weights
        self._model = model
        self._name = name
        self._dropouts = dropouts

    def activate(self) -> None:
        """See `Attachment.activate`."""
        self._model.set_adapter(self._name)

    def set_dropout(self, key: DropoutKey | None) -> None:
        """See `Attachment.set_dropout`."""
        for dropout in self._dropouts:
            dropout.train(key is not None)
            dropout.key = key

    def detach(self) -> None:
        """See `Attachment.detach`."""
        self._model.delete_adapter(self._name)


class PeftMethod:
    """Base of the methods that PEFT implements. A subclass says the configuration, the shapes and the first weights."""

    @abstractmethod
    def config(self, spec: Any, decoder: str | None, linears: Sequence[str]) -> PeftConfig:
        """PEFT's configuration of `spec` that selects linears of the decoder alone: by name where `decoder` is None,
        else below that path. `linears`: the names of all that the base offers.
        """

    def dropouts(self, spec: Any, model: PeftModel, name: str) -> list[KeyedDropout]:
        """Put keyed dropout in the place of PEFT's, which draws from a stream that all jobs share."""
        return []

    def fused_form(self, spec: Any, linears: Mapping[str, nn.Module]) -> LowRankForm | None:
        """See `TrainableMethod.fused_form`: none, unless a subclass knows one."""
        return None

    @abstractmethod
    def shapes(self, spec: Any, linears: Mapping[str, nn.Module]) -> dict[str, tuple[int, ...]]:
        """See `TrainableMethod.shapes`."""

    def attach(self, spec: MethodSpec, site: Site, name: str) -> PeftAttachment:
        """See `TrainableMethod.attach`. The first one wraps the model."""
        self.shapes(spec, site.linears)  # refuses what the base does not have in our words, not in PEFT's
        config = self.config(spec, site.decoder, sorted(last_names(site.linears)))
        if site.wrapper is None:
            site.wrapper = get_peft_model(site.model, config, adapter_name=name)
        else:
            site.wrapper.add_adapter(name, config)
        return PeftAttachment(
            site.wrapper, name, _weights_of(site.wrapper, name), self.dropouts(spec, site.wrapper, name)
        )

    def export(self, job: JobSpec, weights: Mapping[str, Tensor], folder: Path) -> None:
        """See `TrainableMethod.export`: `adapter_config.json` and `adapter_model.safetensors`."""
        shape = job.base.shape
        config = self.config(job.method, shape.decoder, shape.linear_names)
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


def _weights_of(model: PeftModel, adapter_name: str) -> dict[str, nn.Parameter]:
    """Parameters of the adapter under the names PEFT stores them by, which leave out the adapter's name."""
    found = {}
    for name, weight in model.named_parameters():
        parts = name.split(".")
        if adapter_name in parts:
            found[".".join(part for part in parts if part != adapter_name)] = weight
    return found

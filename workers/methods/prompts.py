"""Virtual tokens before each row: hooks on the decoder, so that losses and heads need to know nothing of them."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from safetensors.torch import save_file
from torch import Tensor, nn

from workers.contract.methods.prompts import VirtualTokens
from workers.contract.spec import JobSpec
from workers.methods.method import LowRankForm, Site, WeightRule
from workers.rng import DropoutKey


class PromptAttachment:
    """An `Attachment` whose prompt stands before every row while it is the site's acting one."""

    def __init__(self, method: "PromptMethod", site: Site, weights: Mapping[str, nn.Parameter]) -> None:
        self.weights = weights
        self._method = method
        self._site = site
        decoder = site.model.get_decoder()  # type: ignore[operator]  # every causal language model has one
        self._embed: nn.Module = site.model.get_input_embeddings()  # type: ignore[operator]
        self._hooks = (
            decoder.register_forward_pre_hook(self._prepend, with_kwargs=True),
            decoder.register_forward_hook(self._cut),
        )

    def activate(self) -> None:
        """See `Attachment.activate`."""
        self._site.acting = self
        for weight in self.weights.values():
            weight.requires_grad_()

    def set_dropout(self, key: DropoutKey | None) -> None:
        """See `Attachment.set_dropout`: there is none."""

    def detach(self) -> None:
        """See `Attachment.detach`."""
        for hook in self._hooks:
            hook.remove()
        if self._site.acting is self:
            self._site.acting = None

    def _prepend(self, _: nn.Module, args: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        """`input_ids` [B, T] become `inputs_embeds` [B, n + T, d]."""
        if self._site.acting is not self:
            return None
        inputs = dict(inputs)
        embedded: Tensor = self._embed(inputs.pop("input_ids"))
        prompt = self._method.prompt(self.weights).to(embedded.dtype).expand(len(embedded), -1, -1)
        inputs["inputs_embeds"] = torch.cat([prompt, embedded], dim=1)
        if (mask := inputs.get("attention_mask")) is not None:
            inputs["attention_mask"] = torch.cat([mask.new_ones(prompt.shape[:2]), mask], dim=1)
        return args, inputs

    def _cut(self, _: nn.Module, __: Any, output: Any) -> Any:
        """Hidden states of the row alone, [B, T, d]."""
        if self._site.acting is self:
            output.last_hidden_state = output.last_hidden_state[:, len(self._method.prompt(self.weights)) :]
        return output


class PromptMethod:
    """Base of the methods of virtual tokens. A subclass says the weights and what prompt they make."""

    @abstractmethod
    def prompt(self, weights: Mapping[str, Tensor]) -> Tensor:
        """The embeddings [n, d] that stand before a row."""

    @abstractmethod
    def sizes(self, spec: Any, width: int) -> dict[str, tuple[int, ...]]:
        """The weights for a base of hidden size `width`."""

    def shapes(self, spec: VirtualTokens, site: Site) -> dict[str, tuple[int, ...]]:
        """See `TrainableMethod.shapes`."""
        return self.sizes(spec, _vocabulary(site).shape[1])

    def attach(self, spec: VirtualTokens, site: Site, name: str, seed: int) -> PromptAttachment:
        """See `TrainableMethod.attach`."""
        table = _vocabulary(site)
        weights = {
            weight: nn.Parameter(torch.zeros(shape, device=table.device))
            for weight, shape in self.sizes(spec, table.shape[1]).items()
        }
        self.begin(weights, table, seed)
        return PromptAttachment(self, site, weights)

    @abstractmethod
    def begin(self, weights: Mapping[str, nn.Parameter], table: Tensor, seed: int) -> None:
        """Write the first weights, from the seed and the base's embeddings `table` [V, d]."""

    def initialize(self, spec: Any, weights: Mapping[str, Tensor], seed: int) -> None:
        """See `TrainableMethod.initialize`: `attach` has done it."""

    def rule(self, spec: Any, name: str) -> WeightRule:
        """See `TrainableMethod.rule`."""
        return WeightRule()

    def fused_form(self, spec: Any, linears: Mapping[str, nn.Module]) -> LowRankForm | None:
        """See `TrainableMethod.fused_form`."""
        return None

    def export(self, job: JobSpec, weights: Mapping[str, Tensor], folder: Path) -> None:
        """See `TrainableMethod.export`: `adapter_config.json` and `adapter_model.safetensors`."""
        options = job.method.stock_config(job.base)
        config = PEFT_TYPE_TO_CONFIG_MAPPING[options.pop("peft_type")](**options)
        config.save_pretrained(folder)
        with torch.no_grad():
            prompt = self.prompt({name: weight.float() for name, weight in weights.items()}).contiguous()
        save_file({"prompt_embeddings": prompt}, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    def load(self, model: nn.Module, folder: Path) -> nn.Module:
        """See `TrainableMethod.load`."""
        loaded: nn.Module = PeftModel.from_pretrained(model, folder)
        return loaded


def _vocabulary(site: Site) -> Tensor:
    table: Tensor = site.model.get_input_embeddings().weight  # type: ignore[operator]
    return table

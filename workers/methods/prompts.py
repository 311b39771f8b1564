"""Virtual tokens before each row: hooks on the decoder, so that losses and heads need to know nothing of them."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import torch
from peft import PeftModel
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from safetensors.torch import save_file
from torch import Tensor, nn

from workers.contract.methods.prompts import VirtualTokens
from workers.contract.spec import JobSpec
from workers.methods.method import LowRankForm, Site, WeightRule
from workers.rng import DropoutKey

PROMPT: Final = "prompt_embeddings"
"""What PEFT calls a prompt."""


class PromptAttachment:
    """An `Attachment` whose prompt stands before every row while it is the site's acting one."""

    def __init__(self, method: "PromptMethod", site: Site, weights: Mapping[str, nn.Parameter]) -> None:
        self.weights = weights
        self.site = site
        self.embed: nn.Module = site.model.get_input_embeddings()  # type: ignore[operator]
        self._method = method
        decoder = site.model.get_decoder()  # type: ignore[operator]  # every causal language model has one
        self._hooks = (
            decoder.register_forward_pre_hook(self._before, with_kwargs=True),
            decoder.register_forward_hook(self._behind),
        )

    def activate(self) -> None:
        """See `Attachment.activate`."""
        self.site.acting = self

    def set_dropout(self, key: DropoutKey | None) -> None:
        """See `Attachment.set_dropout`: there is none."""

    def detach(self) -> None:
        """See `Attachment.detach`."""
        for hook in self._hooks:
            hook.remove()
        if self.site.acting is self:
            self.site.acting = None

    def prepend(self, inputs: dict[str, Any]) -> None:
        """`input_ids` [B, T] become `inputs_embeds` [B, n + T, d], the mask with them."""
        embedded: Tensor = self.embed(inputs.pop("input_ids"))
        prompt = self._method.prompt(self.weights).to(embedded.dtype).expand(len(embedded), -1, -1)
        inputs["inputs_embeds"] = torch.cat([prompt, embedded], dim=1)
        if (mask := inputs.get("attention_mask")) is not None:
            inputs["attention_mask"] = torch.cat([mask.new_ones(prompt.shape[:2]), mask], dim=1)

    def cut(self, hidden: Tensor) -> Tensor:
        """Of [B, n + T, d] those of the row, [B, T, d]."""
        return hidden[:, len(self._method.prompt(self.weights)) :]

    def _before(self, _: nn.Module, args: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if self.site.acting is self:
            inputs = dict(inputs)
            self.prepend(inputs)
        return args, inputs

    def _behind(self, _: nn.Module, __: Any, output: Any) -> Any:
        if self.site.acting is self:
            output.last_hidden_state = self.cut(output.last_hidden_state)
        return output


class PromptMethod:
    """Base of the methods of virtual tokens. A subclass says the weights and what prompt they make."""

    attachment: ClassVar[type[PromptAttachment]] = PromptAttachment

    @abstractmethod
    def prompt(self, weights: Mapping[str, Tensor]) -> Tensor:
        """The embeddings [n, d] that stand before a row."""

    @abstractmethod
    def sizes(self, spec: Any, site: Site) -> dict[str, tuple[int, ...]]:
        """The shapes of the weights."""

    def shapes(self, spec: VirtualTokens, site: Site) -> dict[str, tuple[int, ...]]:
        """See `TrainableMethod.shapes`."""
        return self.sizes(spec, site)

    def attach(self, spec: VirtualTokens, site: Site, name: str, seed: int) -> PromptAttachment:
        """See `TrainableMethod.attach`."""
        table = vocabulary(site)
        weights = {
            weight: nn.Parameter(torch.zeros(shape, device=table.device))
            for weight, shape in self.sizes(spec, site).items()
        }
        self.begin(weights, table, seed)
        return self.attachment(self, site, weights)

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
        save_file({PROMPT: prompt}, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    def load(self, model: nn.Module, folder: Path) -> nn.Module:
        """See `TrainableMethod.load`."""
        loaded: nn.Module = PeftModel.from_pretrained(model, folder)
        return loaded


def vocabulary(site: Site) -> Tensor:
    """The embeddings [V, d] of the base."""
    table: Tensor = site.model.get_input_embeddings().weight  # type: ignore[operator]
    return table

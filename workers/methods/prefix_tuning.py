"""Prefix tuning (arXiv 2101.00190), without a network over the prefix: what is trained is what is published."""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from workers.contract.errors import InvalidTargetModules
from workers.contract.methods import PrefixTuning
from workers.methods.method import METHODS, Site
from workers.methods.prompts import PROMPT, PromptAttachment, PromptMethod, vocabulary
from workers.rng import derive_seed

DEVIATION: Final = 0.02
"""Of the first numbers: small keys and values disturb the base little."""


class PrefixAttachment(PromptAttachment):
    """Puts the prefix where the cache of a conversation would be."""

    def prepend(self, inputs: dict[str, Any]) -> None:
        """`past_key_values` hold the prefix; the mask [B, T] becomes [B, n + T]."""
        config = text_config(self.site.model)
        ids: Tensor = inputs["input_ids"]
        prefix, layers = self.weights[PROMPT], config.num_hidden_layers
        heads, size = heads_of(config)
        dtype = vocabulary(self.site).dtype
        states = prefix.view(1, len(prefix), 2 * layers, heads, size).permute(2, 0, 3, 1, 4).to(dtype)
        cache = DynamicCache(config=config)
        for layer in range(layers):
            keys, values = (states[2 * layer + part].expand(len(ids), -1, -1, -1) for part in (0, 1))
            cache.update(keys, values, layer)
        inputs["past_key_values"] = cache
        if (mask := inputs.get("attention_mask")) is not None:
            inputs["attention_mask"] = torch.cat([mask.new_ones(len(ids), len(prefix)), mask], dim=1)

    def cut(self, hidden: Tensor) -> Tensor:
        """A prefix has no hidden states."""
        return hidden


@METHODS.register(PrefixTuning)
class PrefixTuningMethod(PromptMethod):
    """The prefix is trained itself."""

    attachment = PrefixAttachment

    def prompt(self, weights: Mapping[str, Tensor]) -> Tensor:
        """See `PromptMethod.prompt`: [n, 2 L kv], of each layer the key, then the value."""
        return weights[PROMPT]

    def sizes(self, spec: PrefixTuning, site: Site) -> dict[str, tuple[int, ...]]:
        """See `PromptMethod.sizes`. Raises: InvalidTargetModules for a base of which layers share keys, or differ."""
        config = text_config(site.model)
        if getattr(config, "num_kv_shared_layers", 0) or config.to_dict().get("per_layer_config"):
            raise InvalidTargetModules(
                "layers of the base share keys, or their keys differ in size: no prefix fits all"
            )
        heads, size = heads_of(config)
        return {PROMPT: (spec.n_tokens, 2 * config.num_hidden_layers * heads * size)}

    def begin(self, weights: Mapping[str, nn.Parameter], table: Tensor, seed: int) -> None:
        """See `PromptMethod.begin`."""
        generator = torch.Generator().manual_seed(derive_seed(seed, "adapter"))
        with torch.no_grad():
            weights[PROMPT].copy_(torch.randn(weights[PROMPT].shape, generator=generator) * DEVIATION)


def text_config(model: Any) -> Any:
    """The configuration of the decoder."""
    return model.config.get_text_config()


def heads_of(config: Any) -> tuple[int, int]:
    """Heads of keys and values, and their size."""
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return getattr(config, "num_key_value_heads", None) or heads, size

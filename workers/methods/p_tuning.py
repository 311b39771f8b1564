"""P-tuning (arXiv 2103.10385), with PEFT's network: MLP of two hidden layers."""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, relu

from workers.contract.methods import PTuning
from workers.methods.method import METHODS, Site
from workers.methods.prompts import PromptMethod, vocabulary
from workers.rng import derive_seed

_WORDS = "embedding.weight"
_LAYERS = ("mlp_head.0", "mlp_head.2", "mlp_head.4")


@METHODS.register(PTuning)
class PTuningMethod(PromptMethod):
    """Embeddings and network are trained; what the network gives is the prompt."""

    def prompt(self, weights: Mapping[str, Tensor]) -> Tensor:
        """See `PromptMethod.prompt`."""
        state = weights[_WORDS]
        for layer in _LAYERS:
            state = linear(state, weights[f"{layer}.weight"], weights[f"{layer}.bias"])
            state = state if layer == _LAYERS[-1] else relu(state)
        return state

    def sizes(self, spec: PTuning, site: Site) -> dict[str, tuple[int, ...]]:
        """See `PromptMethod.sizes`."""
        width = vocabulary(site).shape[1]
        widths = (width, spec.encoder_hidden_size, spec.encoder_hidden_size, width)
        sizes: dict[str, tuple[int, ...]] = {_WORDS: (spec.n_tokens, width)}
        for layer, (inputs, outputs) in zip(_LAYERS, pairwise(widths), strict=True):
            sizes |= {f"{layer}.weight": (outputs, inputs), f"{layer}.bias": (outputs,)}
        return sizes

    def begin(self, weights: Mapping[str, nn.Parameter], table: Tensor, seed: int) -> None:
        """As torch begins an embedding and linears."""
        generator = torch.Generator().manual_seed(derive_seed(seed, "adapter"))
        with torch.no_grad():
            for name in sorted(weights):
                fresh = torch.empty(weights[name].shape)
                bound = weights[f"{name.rpartition('.')[0]}.weight"].shape[1] ** -0.5
                if name == _WORDS:
                    fresh.normal_(generator=generator)
                else:
                    fresh.uniform_(-bound, bound, generator=generator)
                weights[name].copy_(fresh)

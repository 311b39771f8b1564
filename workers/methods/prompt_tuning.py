"""Prompt tuning (arXiv 2104.08691)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from workers.contract.methods import PromptTuning
from workers.methods.method import METHODS, Site
from workers.methods.prompts import PROMPT, PromptMethod, vocabulary
from workers.rng import derive_seed


@METHODS.register(PromptTuning)
class PromptTuningMethod(PromptMethod):
    """The prompt is trained itself."""

    def prompt(self, weights: Mapping[str, Tensor]) -> Tensor:
        """See `PromptMethod.prompt`."""
        return weights[PROMPT]

    def sizes(self, spec: PromptTuning, site: Site) -> dict[str, tuple[int, ...]]:
        """See `PromptMethod.sizes`."""
        return {PROMPT: (spec.n_tokens, vocabulary(site).shape[1])}

    def begin(self, weights: Mapping[str, nn.Parameter], table: Tensor, seed: int) -> None:
        """Embeddings of random words: of random numbers, training takes far longer (arXiv 2104.08691, 3.2)."""
        generator = torch.Generator().manual_seed(derive_seed(seed, "adapter"))
        words = torch.randint(len(table), (len(weights[PROMPT]),), generator=generator)
        with torch.no_grad():
            weights[PROMPT].copy_(table[words.to(table.device)])

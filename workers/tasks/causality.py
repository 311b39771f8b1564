"""Whether a model predicts each token from those before it, asked of the model itself: no name or config tells."""

from typing import Any, Final

import torch
from torch import Tensor, nn

TOKENS: Final = 16
FIRST: Final = 2  # tokens whose states are asked; the others come after them


def is_causal(model: Any) -> bool:
    """Whether the states of the first tokens are independent of the tokens after them.

    Their gradients by the later embeddings are exactly zero then, however sums are rounded.
    """
    vocabulary: nn.Module = model.get_input_embeddings()
    entries = len(vocabulary.weight)  # type: ignore[arg-type]  # an embedding's weight is a tensor
    seen: list[Tensor] = []

    def watch(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_())
        return seen[-1]

    hook = vocabulary.register_forward_hook(watch)
    try:
        ids = torch.arange(TOKENS, device=vocabulary.weight.device)[None] % entries  # type: ignore[arg-type]
        with torch.enable_grad():
            states = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
            (gradient,) = torch.autograd.grad(states[:, :FIRST].float().pow(2).sum(), seen[0])
    finally:
        hook.remove()
    return not bool(gradient[:, FIRST:].count_nonzero())

"""Negative log-likelihood of supervised tokens, computed without all of their logits in memory at once.

With a vocabulary of 262k, logits outgrow the model: 1k tokens are 1 GiB in fp32. Only supervised tokens are scored, a
chunk at a time. The same pass computes the gradient of the hidden states, as in Liger's fused linear cross entropy
(arXiv 2410.10989). The output head is frozen and needs no gradient.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from workers.contract.memory import CHUNK_LOGITS, VOCABULARY_BLOCK
from workers.tasks.task import Scorable, Scores

PROBE_TOKENS: Final = 8


class FrozenHeadNll(torch.autograd.Function):
    """-log softmax(hidden @ weight.T)[target] of every token, with the gradient for `hidden` only."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """`hidden` [N, H], `weight` [V, H], `targets` [N] -> (nll [N], correct [N])."""
        size = max(1, CHUNK_LOGITS // min(len(weight), VOCABULARY_BLOCK))
        parts = [
            _score(part, weight, wanted, ctx.needs_input_grad[0])
            for part, wanted in zip(torch.split(hidden, size), torch.split(targets, size), strict=True)
        ]
        ctx.save_for_backward(torch.cat([gradient for _, _, gradient in parts]) if ctx.needs_input_grad[0] else None)
        nll, correct = torch.cat([nll for nll, _, _ in parts]), torch.cat([correct for _, correct, _ in parts])
        ctx.mark_non_differentiable(correct)
        return nll, correct

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, None, None]:
        """Scale each token's stored gradient by the upstream gradient of its `nll`."""
        (gradient,) = ctx.saved_tensors
        return (None if gradient is None else gradient * upstream[0][:, None].to(gradient.dtype)), None, None


def _score(hidden: Tensor, weight: Tensor, targets: Tensor, wants_gradient: bool) -> tuple[Tensor, Tensor, Tensor]:
    """(nll [N], correct [N], gradient of the nll for `hidden` [N, H]) of a few tokens.

    Iterates over the vocabulary once, in blocks that fit the CPU caches. Each block has its own softmax; the running
    gradient is rescaled when the next block is added (online softmax, arXiv 1805.02867).
    """
    own, best, total = (torch.full((len(hidden),), -torch.inf, device=hidden.device) for _ in range(3))
    gradient = torch.zeros(hidden.shape, device=hidden.device)
    buffers = _BlockBuffers(len(hidden), weight)
    for start in range(0, len(weight), VOCABULARY_BLOCK):
        block = weight[start : start + VOCABULARY_BLOCK]
        logits = buffers.logits[:, : len(block)].copy_(hidden @ block.T)
        here = (targets >= start) & (targets < start + len(block))
        own[here] = logits[here, targets[here] - start]
        highest = logits.amax(dim=-1)
        best = torch.maximum(best, highest)
        probabilities = torch.softmax(logits, dim=-1, out=buffers.probabilities[:, : len(block)])
        level = highest - probabilities.amax(dim=-1).log()  # log of the block's sum of exponentials
        grown = torch.logaddexp(total, level)
        if wants_gradient:
            pull = (buffers.narrow[:, : len(block)].copy_(probabilities) @ block).float()
            gradient = gradient * (total - grown).exp()[:, None] + pull * (level - grown).exp()[:, None]
        total = grown
    return total - own, own == best, (gradient - weight[targets]).to(hidden.dtype)


class _BlockBuffers:
    """Buffers that all blocks of the vocabulary share: allocating them per block costs as much as its products."""

    def __init__(self, tokens: int, weight: Tensor) -> None:
        width = min(VOCABULARY_BLOCK, len(weight))
        self.logits, self.probabilities = (torch.empty(tokens, width, device=weight.device) for _ in range(2))
        self.narrow = torch.empty(tokens, width, dtype=weight.dtype, device=weight.device)


class Scorer:
    """Scores micro-batches on one causal language model with its active adapters."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._head = model.get_output_embeddings()
        self._head_is_plain = self._probe()

    def score(self, batch: Scorable) -> Scores:
        """Score token t from the hidden state at t - 1, where `loss_weights[:, t]` is not 0."""
        weights = batch.loss_weights[:, 1:]
        wanted = weights.nonzero(as_tuple=True)
        weights, targets = weights[wanted], batch.input_ids[:, 1:][wanted]
        if self._head_is_plain:
            hidden = self._hidden(**batch.inputs())[:, :-1][wanted]
            nll, correct = FrozenHeadNll.apply(hidden, self._head.weight, targets)  # type: ignore[no-untyped-call]
            return Scores(nll, correct, weights)
        output = self._model(**batch.inputs(), use_cache=False)
        logits = output.logits[:, :-1][wanted].float()
        return Scores(cross_entropy(logits, targets, reduction="none"), logits.argmax(-1) == targets, weights)

    def _hidden(self, **inputs: Any) -> Tensor:
        hidden: Tensor = self._model.get_decoder()(**inputs, use_cache=False).last_hidden_state
        return hidden

    @torch.no_grad()
    def _probe(self) -> bool:
        """Whether logits equal hidden @ weight.T. Some bases cap or scale logits in their own forward."""
        if type(self._head) is not nn.Linear or getattr(self._head, "bias", None) is not None:
            return False
        ids = torch.arange(PROBE_TOKENS, device=self._head.weight.device)[None] % self._head.weight.shape[0]
        mask = torch.ones_like(ids)
        full = self._model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        own = self._head(self._hidden(input_ids=ids, attention_mask=mask))
        return full.shape == own.shape and torch.allclose(full, own, rtol=1e-3, atol=1e-5)

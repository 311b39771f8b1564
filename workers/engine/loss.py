"""Negative log-likelihood of supervised tokens, without ever holding the logits of all of them.

A vocabulary of 262k makes logits larger than the model: 1k tokens are 1 GiB in fp32. Only supervised positions are
scored, a chunk at a time, and the gradient with respect to the hidden states is worked out in the same pass, as in
Liger's fused linear cross entropy (arXiv 2410.10989). The output head is frozen, so nothing else is needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax

CHUNK_LOGITS: Final = 1 << 25  # 128 MiB in fp32
PROBE_TOKENS: Final = 8


class Scorable(Protocol):
    """A batch that the base can score."""

    @property
    def input_ids(self) -> Tensor:
        """[B, T] int64."""

    @property
    def loss_mask(self) -> Tensor:
        """[B, T] bool: predicting this token, from the position before it, counts."""

    def inputs(self) -> Mapping[str, Any]:
        """What the model's decoder is called with."""


@dataclass(frozen=True)
class Scores:
    """One entry for each of the N supervised tokens of a micro-batch, row by row."""

    nll: Tensor
    """[N] fp32, nats; carries the gradient."""
    correct: Tensor
    """[N] bool: whether the likeliest prediction was right."""


class FrozenHeadNll(torch.autograd.Function):
    """-log softmax(hidden @ weight.T)[target] of every token, with the gradient for `hidden` only."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """`hidden` [N, H], `weight` [V, H], `targets` [N] -> (nll [N], correct [N])."""
        nll = torch.empty(hidden.shape[0], device=hidden.device)
        correct = torch.empty(hidden.shape[0], dtype=torch.bool, device=hidden.device)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        size = max(1, CHUNK_LOGITS // weight.shape[0])
        for start in range(0, hidden.shape[0], size):
            part, wanted = hidden[start : start + size], targets[start : start + size]
            scores = log_softmax((part @ weight.T).float(), dim=-1)
            correct[start : start + size] = scores.argmax(-1) == wanted
            nll[start : start + size] = -scores.gather(1, wanted[:, None]).squeeze(1)
            if gradient is not None:
                probabilities = scores.exp_()
                probabilities[torch.arange(len(wanted), device=wanted.device), wanted] -= 1
                gradient[start : start + size] = probabilities.to(weight.dtype) @ weight
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(correct)
        return nll, correct

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, None, None]:
        """Scale each token's stored gradient by the one arriving for its `nll`."""
        (gradient,) = ctx.saved_tensors
        return (None if gradient is None else gradient * upstream[0][:, None].to(gradient.dtype)), None, None


class Scorer:
    """Scores micro-batches on one causal language model, whatever adapters are active in it."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._head = model.get_output_embeddings()
        self._head_is_plain = self._probe()

    def score(self, batch: Scorable) -> Scores:
        """Token t is predicted from the hidden state at t - 1, where `loss_mask[:, t]` is set."""
        wanted = batch.loss_mask[:, 1:]
        targets = batch.input_ids[:, 1:][wanted]
        if self._head_is_plain:
            hidden = self._hidden(**batch.inputs())[:, :-1][wanted]
            nll, correct = FrozenHeadNll.apply(hidden, self._head.weight, targets)  # type: ignore[no-untyped-call]
            return Scores(nll, correct)
        output = self._model(**batch.inputs(), use_cache=False)
        logits = output.logits[:, :-1][wanted].float()
        return Scores(cross_entropy(logits, targets, reduction="none"), logits.argmax(-1) == targets)

    def _hidden(self, **inputs: Any) -> Tensor:
        hidden: Tensor = self._model.get_decoder()(**inputs, use_cache=False).last_hidden_state
        return hidden

    @torch.no_grad()
    def _probe(self) -> bool:
        """Whether logits are just hidden @ weight.T: some bases cap or scale them, as only their own forward knows."""
        if type(self._head) is not nn.Linear or getattr(self._head, "bias", None) is not None:
            return False
        ids = torch.arange(PROBE_TOKENS, device=self._head.weight.device)[None] % self._head.weight.shape[0]
        mask = torch.ones_like(ids)
        full = self._model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        own = self._head(self._hidden(input_ids=ids, attention_mask=mask))
        return full.shape == own.shape and torch.allclose(full, own, rtol=1e-3, atol=1e-5)

"""The chunked loss equals the plain loss."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM

from workers.contract.base import BaseSpec
from workers.data.batches import MicroBatch, collate
from workers.data.encode import EncodedRow
from workers.tasks import token_loss as loss
from workers.tasks.token_loss import FrozenHeadNll, Scorer


def batch_of(vocabulary: int) -> MicroBatch:
    """Three rows; the first third of each carries no loss."""
    generator = torch.Generator().manual_seed(1)
    rows = []
    for line, length in enumerate((9, 4, 7), start=1):
        ids = torch.randint(5, vocabulary, (length,), generator=generator).tolist()
        rows.append(EncodedRow.of(line, ids, [position > length // 3 for position in range(length)]))
    return collate(rows, pad_id=0)


def reference(model: torch.nn.Module, batch: MicroBatch) -> torch.Tensor:
    """The loss transformers itself computes from labels, as a sum."""
    labels = batch.input_ids.masked_fill(batch.loss_weights == 0, -100)
    mean = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss
    return mean * batch.supervised


def test_loss_and_gradient_of_the_frozen_head_match_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "CHUNK_LOGITS", 3 * 16)  # three positions a chunk, the last one short
    monkeypatch.setattr(loss, "VOCABULARY_BLOCK", 16)  # and so is the last block
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(11, 8, generator=generator, dtype=torch.float64).requires_grad_()
    weight = torch.randn(50, 8, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 50, (11,), generator=generator)
    expected = torch.nn.functional.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    (wanted,) = torch.autograd.grad(expected, hidden)
    nll, correct = FrozenHeadNll.apply(hidden, weight, targets)
    (got,) = torch.autograd.grad(nll.sum() / 7, hidden)
    assert float(nll.sum()) == pytest.approx(float(expected), rel=1e-6)
    torch.testing.assert_close(got * 7, wanted, rtol=1e-5, atol=1e-6)
    assert int(correct.sum()) == int(((hidden @ weight.T).argmax(-1) == targets).sum())


def test_supervised_positions_alone_give_the_loss_of_the_full_forward(tiny_base: BaseSpec) -> None:
    model = AutoModelForCausalLM.from_pretrained(Path(tiny_base.location))
    batch = batch_of(model.config.vocab_size)
    scorer = Scorer(model)
    assert scorer._head_is_plain
    assert float(scorer.score(batch).nll.sum().detach()) == pytest.approx(float(reference(model, batch)), rel=1e-6)


def test_a_base_that_caps_its_logits_is_scored_by_its_own_forward() -> None:
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        final_logit_softcapping=0.05,
        attn_implementation="eager",
    )
    model = Gemma2ForCausalLM(config).eval()
    batch = batch_of(97)
    scorer = Scorer(model)
    assert not scorer._head_is_plain
    assert float(scorer.score(batch).nll.sum().detach()) == pytest.approx(float(reference(model, batch)), rel=1e-6)

"""Packed rows give the same hidden states and gradients as row by row; otherwise the base uses padding."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM, MistralConfig, MistralForCausalLM

from tests.builders.driving import drain, losses, outcome_of
from tests.builders.specs import make_host_spec, make_job_spec, make_order
from workers.contract.base import BaseSpec
from workers.contract.reports import ExitClass
from workers.host import TrainingHost
from workers.lanes.fused import stepper as fused_stepper
from workers.lanes.fused.attention import packed_attention
from workers.lanes.fused.packing import switch_to_packing
from workers.lanes.fused.short_rows import LONGEST

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}


def attention_inputs(lengths: list[int], seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(1, heads, sum(lengths), 16, generator=generator, dtype=torch.float64).requires_grad_()
        for heads in (4, 2, 2)
    ]


def masked(lengths: list[int], window: int | None) -> torch.Tensor:
    """[T, T] bool: the packed tokens that each token may attend to, built naively."""
    row = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    place = torch.arange(sum(lengths))
    back = place[:, None] - place[None, :]
    return (row[:, None] == row[None, :]) & (back >= 0) & (back < (window or sum(lengths)))


@pytest.mark.parametrize("lengths", [[7], [3, 3, 5], [1, 6, 6, 2], [LONGEST + 3, 4]])
@pytest.mark.parametrize("window", [None, 4])
def test_packed_rows_see_themselves_alone(lengths: list[int], window: int | None) -> None:
    query, key, value = attention_inputs(lengths)
    runs = tuple((1, length) for length in lengths)
    got, _ = packed_attention(
        torch.nn.Identity(), query, key, value, None, seq_lens=runs, scaling=0.3, sliding_window=window
    )
    wanted = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=masked(lengths, window), scale=0.3, enable_gqa=True
    ).transpose(1, 2)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)
    probe = torch.randn(got.shape, generator=torch.Generator().manual_seed(1), dtype=got.dtype)
    for own, reference in zip(
        torch.autograd.grad((got * probe).sum(), (query, key, value)),
        torch.autograd.grad((wanted * probe).sum(), (query, key, value)),
        strict=True,
    ):
        torch.testing.assert_close(own, reference, rtol=1e-5, atol=1e-6)


def test_adjacent_rows_of_equal_length_share_a_batch_with_the_same_result() -> None:
    query, key, value = attention_inputs([5, 5, 5])
    one_by_one, _ = packed_attention(torch.nn.Identity(), query, key, value, None, seq_lens=((1, 5), (1, 5), (1, 5)))
    together, _ = packed_attention(torch.nn.Identity(), query, key, value, None, seq_lens=((3, 5),))
    torch.testing.assert_close(one_by_one, together, rtol=1e-12, atol=1e-12)


def test_a_base_with_sliding_windows_packs() -> None:
    torch.manual_seed(0)
    model = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=4)).eval()
    assert switch_to_packing(model)


def test_a_base_that_caps_its_attention_is_left_unchanged() -> None:
    torch.manual_seed(0)
    model = Gemma2ForCausalLM(Gemma2Config(**SIZES, attn_implementation="eager")).eval()
    before = model.config._attn_implementation
    assert not switch_to_packing(model)
    assert model.config._attn_implementation == before


def test_a_base_whose_attention_ignores_rows_is_left_unchanged(
    tiny_base: BaseSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForCausalLM.from_pretrained(Path(tiny_base.location)).eval()
    decoder = model.get_decoder()
    passed_on = decoder.forward

    def forgetful(*args: object, seq_lens: object = None, **kwargs: object) -> object:
        return passed_on(*args, **kwargs)

    monkeypatch.setattr(decoder, "forward", forgetful)
    assert not switch_to_packing(model)


def train(tmp_path: Path, base: BaseSpec) -> list[list[float | None]]:
    """Loss traces of two seats that share passes, of different ranks and lengths, with dropout."""
    host = TrainingHost(make_host_spec(tmp_path, base))
    for number, rank in enumerate((2, 8)):
        name = f"ftjob-{number}"
        host.attach(make_order(make_job_spec(tmp_path, base, job_id=name, seed=number, rank=rank, dropout=0.1)))
    reports = drain(host)
    names = ["ftjob-0", "ftjob-1"]
    assert {outcome_of(reports, name).exit_class for name in names} == {ExitClass.OK}
    return [losses(reports, name) for name in names]


def test_padding_and_packing_train_alike(tmp_path: Path, tiny_base: BaseSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = train(tmp_path / "packed", tiny_base)
    monkeypatch.setattr(fused_stepper, "switch_to_packing", lambda model: False)
    padded = train(tmp_path / "padded", tiny_base)
    for one, other in zip(packed, padded, strict=True):
        assert one == pytest.approx(other, rel=1e-4)

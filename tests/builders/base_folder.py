"""A base folder without meaning: valid config, tokenizer and safetensors of zeros, made without torch."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 10,
    "max_position_embeddings": 64,
}
LAYER = {
    "self_attn.q_proj": (8, 8),
    "self_attn.k_proj": (4, 8),
    "self_attn.v_proj": (4, 8),
    "self_attn.o_proj": (8, 8),
    "mlp.gate_proj": (16, 8),
    "mlp.up_proj": (16, 8),
    "mlp.down_proj": (8, 16),
    "input_layernorm": (8,),
}
OUTSIDE = {"model.embed_tokens.weight": (10, 8), "model.norm.weight": (8,)}
SHAPES = OUTSIDE | {f"model.layers.{n}.{name}.weight": sizes for n in range(2) for name, sizes in LAYER.items()}
PARAMETERS = 2 * (64 + 32 + 32 + 64 + 3 * 128 + 8) + 80 + 8


def make_folder(folder: Path, *, template: bool = True, **config: Any) -> Path:
    """A Llama of 1256 weights; further keywords change its config."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(LLAMA | config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"} if template else {}))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A base\n")
    write_safetensors(folder / "model.safetensors", SHAPES)
    return folder


def write_safetensors(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Tensors of zeros in F32."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, sizes in shapes.items():
        start, end = end, end + 4 * math.prod(sizes)
        header[name] = {"dtype": "F32", "shape": sizes, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))

"""`config.json` of a base: whether the service can train the model it describes, and its sizes. No torch."""

import json
from pathlib import Path
from typing import Any, Final

from orchestrator.catalogue.refusal import Refused
from workers.contract.base import BaseShape

CAUSAL: Final = ("ForCausalLM", "LMHeadModel")
MULTIMODAL: Final = "ForConditionalGeneration"
DECODER_INSIDE: Final = {"Gemma3ForConditionalGeneration": "model.language_model"}
"""Models with a vision tower whose decoder can be trained by itself -> where transformers keeps it."""
CONV1D: Final = frozenset({"GPT2LMHeadModel", "OpenAIGPTLMHeadModel"})
"""Those that store the weights of linears as [in, out]."""
NO_DECODERS: Final = ("bert", "bigbird", "electra", "erniefor", "roformer", "data2vec", "xmod", "xlnet", "xlmwith")
"""In the name of a class, in lower case, that ends as a decoder's does, of a model that was trained to fill gaps. Most
read in both directions unless their config says `is_decoder`."""
ENCODER_DECODERS: Final = (
    *("t5", "bart", "pegasus", "marian", "prophetnet", "whisper", "blenderbot", "mvp", "musicgen", "speech2text"),
    *("plbart", "trocr", "reformer"),
)

# The usual name first, then the older ones of GPT-2, GPT-J, MPT and OPT.
HIDDEN: Final = ("hidden_size", "n_embd", "d_model")
LAYERS: Final = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
HEADS: Final = ("num_attention_heads", "n_head", "n_heads")
KEY_VALUE_HEADS: Final = ("num_key_value_heads", "num_kv_heads")
INTERMEDIATE: Final = ("intermediate_size", "n_inner", "ffn_dim")
POSITIONS: Final = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")


def read_json(file: Path) -> dict[str, Any]:
    """The object in the file; empty when there is no file. Raises: Refused."""
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Refused(f"{file.name} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise Refused(f"{file.name} holds no JSON object")
    return content


def require_trainable(config: dict[str, Any]) -> None:
    """Raises: Refused for what is no decoder with linears of its own."""
    if "auto_map" in config:
        raise Refused("config.json names remote code in auto_map; Orchard never runs code of a base")
    if config.get("is_encoder_decoder"):
        raise Refused(
            f"{_architecture(config)} is an encoder-decoder; Orchard trains decoder-only causal language models"
        )
    if not config.get("architectures"):
        raise Refused("config.json names no architecture, so it is not known whether the base can be trained")
    architecture = _architecture(config)
    if architecture.endswith(MULTIMODAL) and architecture not in DECODER_INSIDE:
        raise Refused(
            f"{architecture} is a multimodal or encoder-decoder model; add the text-only model (…ForCausalLM) instead"
        )
    if architecture not in DECODER_INSIDE and not is_decoder(architecture, config):
        raise Refused(f"{architecture} cannot be trained; Orchard trains decoder-only causal language models")
    if "quantization_config" in config:
        method = (config["quantization_config"] or {}).get("quant_method", "some method")
        raise Refused(f"its weights are quantized already ({method}); add the plain ones, and Orchard quantizes them")


def is_decoder(architecture: str, config: dict[str, Any]) -> bool:
    """Whether a class of transformers predicts each token from those before it, by its name."""
    name = architecture.lower()
    if not architecture.endswith(CAUSAL) or any(part in name for part in ENCODER_DECODERS):
        return False
    return bool(config.get("is_decoder")) or not any(part in name for part in NO_DECODERS)


def decoder_of(config: dict[str, Any]) -> str | None:
    """Where the decoder is in a model that holds other networks too; see `BaseShape.decoder`."""
    return DECODER_INSIDE.get(_architecture(config))


def transposed(config: dict[str, Any]) -> bool:
    """Whether weights of linears are stored as [in, out]."""
    return _architecture(config) in CONV1D


def shape_of(config: dict[str, Any], parameters: int) -> BaseShape:
    """The sizes of the decoder. Raises: Refused naming the key that is missing."""
    decoder = decoder_of(config)
    if decoder is not None:
        config = config.get("text_config") or {}
    hidden, heads = _size(config, HIDDEN), _size(config, HEADS)
    head_size = _first(config, ("head_dim",)) or max(hidden // heads, 1)
    key_value_heads = _first(config, KEY_VALUE_HEADS) or (1 if config.get("multi_query") else heads)
    return BaseShape(
        parameters=parameters,
        vocab_size=_size(config, ("vocab_size",)),
        hidden_size=hidden,
        intermediate_size=_first(config, INTERMEDIATE) or 4 * hidden,  # as GPT-2 and its kin mean an absent one
        num_layers=_size(config, LAYERS),
        query_size=heads * head_size,
        key_value_size=key_value_heads * head_size,
        max_positions=_size(config, POSITIONS),
        decoder=decoder,
    )


def _size(config: dict[str, Any], keys: tuple[str, ...]) -> int:
    value = _first(config, keys)
    if value is None:
        raise Refused(f"config.json has no {keys[0]}; Orchard trains decoders with attention and the usual sizes")
    return value


def _first(config: dict[str, Any], keys: tuple[str, ...]) -> int | None:
    key = next((key for key in keys if config.get(key) is not None), None)
    if key is None:
        return None
    value = config[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise Refused(f"config.json: {key} is {value!r}, which is no size")
    return value


def _architecture(config: dict[str, Any]) -> str:
    named = config.get("architectures")
    return str(named[0]) if named else "the base"

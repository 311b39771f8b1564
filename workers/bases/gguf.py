"""GGUF files, converted once into plain bf16 safetensors.

transformers reads GGUF, but unpacking takes most of a minute for a 270M model, so the result is cached under the
digest of the source file.
"""

from pathlib import Path
from typing import Final

from workers.contract.errors import BaseUnusable
from workers.contract.owned_folder import owned_folder, remove_abandoned
from workers.storage import rename_folder

STAGING: Final = ".gguf-"


def converted_folder(file: Path, digest: str, cache_dir: Path) -> Path:
    """The folder with the converted weights and tokenizer, created when missing. Raises BaseUnusable.

    Two processes may convert at once: each renames a complete folder into place, with the same weights.
    """
    target = cache_dir / f"gguf-{digest[:32]}"
    if target.is_dir():
        return target
    cache_dir.mkdir(parents=True, exist_ok=True)
    remove_abandoned(STAGING, cache_dir)
    with owned_folder(STAGING, cache_dir) as staging:
        _convert(file, staging)
        if not target.is_dir():
            rename_folder(staging, target)
    return target


def _convert(file: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        model = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
        )
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    except (ValueError, KeyError, NotImplementedError) as error:
        raise BaseUnusable(f"its GGUF file could not be converted: {type(error).__name__}") from error
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)

"""Python that readers of an adapter run to find its base. Text alone: pages and READMEs hold it."""

from pathlib import PurePath

from workers.contract.base import BaseSpec


def base_folder(base: BaseSpec, base_path: str | None = None) -> str:
    """Python that sets `BASE` to a local folder of plain weights.

    `base_path` is such a folder that readers can access, if there is one.
    """
    if base_path is not None or base.scheme == "file":
        return f"BASE = {(base_path or base.location)!r}  # or your own copy of {base.id}"
    if base.scheme == "hf":
        return (
            "from huggingface_hub import snapshot_download\n\n"
            f"BASE = snapshot_download({base.location!r}, revision={base.revision!r})"
        )
    file = PurePath(base.location)
    return (
        "from transformers import GgufConfig\n\n"
        f"BASE = {file.stem!r}  # plain weights, unpacked once: PEFT cannot load adapters onto GGUF\n"
        f"unpacked = {{'gguf_file': {file.name!r}, 'quantization_config': GgufConfig(dequantize=True)}}\n"
        f"AutoModelForCausalLM.from_pretrained({str(file.parent)!r}, **unpacked).save_pretrained(BASE)"
    )

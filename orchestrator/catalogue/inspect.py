"""Reading a base: from its source to `BaseFacts`, without torch and without loading a weight.

A file or folder is read where it lies. What is named on the hub is read from this machine's cache alone (`inspect`), so
that no process waits for the network when it starts, or from the hub itself (`orchestrator.catalogue.hub.fetch`).
"""

from pathlib import Path
from typing import Final

import yaml

from orchestrator.catalogue.config_json import read_json, require_trainable, shape_of, transposed
from orchestrator.catalogue.facts import BaseFacts
from orchestrator.catalogue.gguf_file import read_gguf
from orchestrator.catalogue.hub import cached_folder
from orchestrator.catalogue.refusal import Refused
from orchestrator.catalogue.tokenizers import FILES, has_tokenizer, python_tokenizer
from orchestrator.catalogue.weights import (
    Shapes,
    count_experts,
    count_parameters,
    linears_of,
    read_shapes,
    require_all_shards,
)
from workers.contract.base import BaseShape, LinearShape
from workers.contract.errors import BaseRefused, BaseUnavailable, BaseUnusable
from workers.contract.guard import weight_files

TEMPLATE_FILES: Final = ("chat_template.jinja", "chat_template.json")


def inspect(source: str, revision: str | None = None) -> BaseFacts:
    """What the base at `source` says of itself. Asks no network. Raises: Refused."""
    scheme, _, location = source.partition(":")
    try:
        if scheme == "gguf":
            return read_gguf(Path(location))
        return inspect_folder(Path(location) if scheme == "file" else cached_folder(location, revision))
    except OSError as error:
        raise Refused(f"{error.filename or location} cannot be read: {error.strerror or error}") from error


def inspect_folder(folder: Path) -> BaseFacts:
    """A folder of safetensors, config and tokenizer. Raises: Refused."""
    try:
        files = weight_files(folder)
    except (BaseRefused, BaseUnavailable, BaseUnusable) as error:
        raise Refused(f"{folder}: {error}") from error
    require_trainable(_config(folder))
    require_all_shards(folder, files)
    return facts_of(folder, read_shapes(files))


def facts_of(folder: Path, shapes: Shapes) -> BaseFacts:
    """`folder` holds config and tokenizer; of the weights their names and sizes are enough. Raises: Refused."""
    config = _config(folder)
    require_trainable(config)
    if not has_tokenizer(folder):
        raise Refused(f"there is no tokenizer in {folder} ({', '.join(FILES)})")
    linears = linears_of(shapes, transposed=transposed(config))
    shape = _with_linears(shape_of(config, count_parameters(shapes)), linears)
    return BaseFacts(
        shape=shape,
        target_modules=shape.linear_names,
        experts=count_experts(shapes),
        has_chat_template=_has_chat_template(folder),
        python_tokenizer=python_tokenizer(folder),
        license=license_of_card(folder / "README.md"),
    )


def _with_linears(shape: BaseShape, linears: tuple[LinearShape, ...]) -> BaseShape:
    """`linears` are written down where they are not those of a gated decoder of these sizes."""
    return shape if linears == shape.linears else shape.model_copy(update={"adaptable": linears})


def license_of_card(card: Path) -> str | None:
    """`license` in the YAML at the head of a model card, if there is a card that says so."""
    if not card.is_file():
        return None
    _, mark, rest = card.read_text(encoding="utf-8", errors="replace").partition("---\n")
    head, _, _ = rest.partition("\n---")
    try:
        content = yaml.safe_load(head) if mark else None
    except yaml.YAMLError:
        return None
    stated = content.get("license_name") or content.get("license") if isinstance(content, dict) else None
    return stated if isinstance(stated, str) else None


def _config(folder: Path) -> dict[str, object]:
    if not (folder / "config.json").is_file():
        raise Refused(f"there is no config.json in {folder}")
    return read_json(folder / "config.json")


def _has_chat_template(folder: Path) -> bool:
    if any((folder / name).is_file() for name in TEMPLATE_FILES):
        return True
    return bool(read_json(folder / "tokenizer_config.json").get("chat_template"))

"""Bases on the Hugging Face hub: what this machine has cached of one, and what the hub says of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from orchestrator.catalogue.refusal import Refused
from orchestrator.catalogue.weights import Shapes

SMALL_FILES: Final = ("*.json", "*.jinja", "*.model", "vocab.txt", "merges.txt")
"""Config and tokenizer. Of the weights only headers are asked for."""
INSTALL: Final = "pip install huggingface_hub"


@dataclass(frozen=True)
class OnHub:
    """A repository at one commit: its small files on this disk, and what is known of the rest."""

    folder: Path
    commit: str
    license: str | None
    shapes: Shapes


def cached_folder(repository: str, revision: str | None) -> Path:
    """Where this machine keeps the snapshot. Raises: Refused when there is none; nothing is fetched."""
    hub = _library()
    try:
        return Path(hub.snapshot_download(repository, revision=revision, local_files_only=True))
    except (OSError, ValueError) as error:
        raise Refused(
            f"the catalogue does not give its shape, and {repository} is not in this machine's cache; "
            f"write the whole entry by `orchard catalogue add hf:{repository}`"
        ) from error


def is_cached(source: str, revision: str | None) -> bool:
    """Whether this machine has the snapshot of an `hf:` source."""
    try:
        cached_folder(source.partition(":")[2], revision)
    except Refused:
        return False
    return True


def fetch(repository: str, revision: str | None) -> OnHub:
    """Ask the hub; its small files come into this machine's cache. Raises: Refused."""
    hub = _library()
    try:
        about = hub.HfApi().model_info(repository, revision=revision)
        names = [file.rfilename for file in about.siblings or ()]
        if not any(name.endswith(".safetensors") for name in names):
            raise Refused(f"{repository} holds no *.safetensors; Orchard loads neither pickles nor other formats")
        folder = hub.snapshot_download(repository, revision=about.sha, allow_patterns=list(SMALL_FILES))
        weights = hub.get_safetensors_metadata(repository, revision=about.sha)
    except Refused:
        raise
    except Exception as error:  # its own errors, and those of its HTTP library
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise Refused(f"{repository} at {revision or 'main'} could not be read from the hub: {said}") from error
    shapes = {
        name: tuple(tensor.shape) for file in weights.files_metadata.values() for name, tensor in file.tensors.items()
    }
    return OnHub(Path(folder), about.sha, _license(about), shapes)


def _license(about: Any) -> str | None:
    card = about.card_data
    stated = (getattr(card, "license_name", None) or getattr(card, "license", None)) if card else None
    return stated if isinstance(stated, str) else None


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise Refused(f"reading a base of the hub needs the package huggingface_hub: {INSTALL}") from error
    return huggingface_hub

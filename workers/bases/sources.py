"""From a catalogue entry to a local folder of safetensors, and the digest of its weights."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from workers.bases.gguf import converted_folder
from workers.contract.base import BaseSpec
from workers.contract.errors import BaseDigestMismatch
from workers.contract.guard import missing, weight_files
from workers.hub import snapshot
from workers.storage import file_sha256

HUB_FILES: Final = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.model", "*.txt", "*.jinja")


@dataclass(frozen=True)
class Source:
    """A base on local disk. `digest` is the sha256 of the files the catalogue names, not of a conversion."""

    folder: Path
    digest: str


def locate(base: BaseSpec, cache_dir: Path) -> Source:
    """Fetch the base to local disk and verify it. Raises: BaseUnavailable, BaseUnusable, BaseRefused,
    BaseDigestMismatch.
    """
    if base.scheme == "gguf":
        file = Path(base.location)
        if not file.is_file():
            raise missing(file, "file")
        digest = _checked(base, [file])
        return Source(converted_folder(file, digest, cache_dir), digest)
    folder = Path(base.location) if base.scheme == "file" else snapshot(base, HUB_FILES)
    return Source(folder, _checked(base, weight_files(folder)))


def weight_digest(files: Sequence[Path]) -> str:
    """The sha256 of a single weight file; for several, of their `sha256sum` lines sorted by name."""
    if len(files) == 1:
        return file_sha256(files[0])
    lines = "".join(f"{file_sha256(path)}  {path.name}\n" for path in sorted(files, key=lambda path: path.name))
    return hashlib.sha256(lines.encode()).hexdigest()


def _checked(base: BaseSpec, files: Sequence[Path]) -> str:
    digest = weight_digest(files)
    if base.weight_digest is not None and base.weight_digest != digest:
        raise BaseDigestMismatch(
            f"base {base.id}: the catalogue pins sha256 {base.weight_digest}, but the weights have {digest}"
        )
    return digest

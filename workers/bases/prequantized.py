"""Quantized weights, kept on disk after the first time, so that the next host loads them without quantizing.

Quantizing reads the weights in full precision and costs some fifteen seconds per billion on a CPU. What it makes is
kept as transformers itself stores bitsandbytes models: safetensors and a config that says they are quantized.
"""

import hashlib
import logging
import shutil
import tempfile
import time
import uuid
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Self

from pydantic import ValidationError

from workers.bases.sources import Source
from workers.contract.base import ComputeDtype, Quantization
from workers.contract.model import Frozen
from workers.contract.reports import FileDigest
from workers.contract.spec import HostSpec
from workers.storage import digest_folder, file_sha256, rename_folder

MANIFEST: Final = "manifest.json"
ABANDONED_S: Final = 86_400  # no host writes or reads hidden folders for so long
LIBRARIES: Final = ("bitsandbytes", "torch", "transformers")
log = logging.getLogger(__name__)


class Recipe(Frozen):
    """All that quantized weights depend on. Another library version may round, name or pack them otherwise."""

    weight_digest: str
    config_sha256: str
    quantization: Quantization
    compute_dtype: ComputeDtype
    device: str
    libraries: dict[str, str]

    @classmethod
    def of(cls, source: Source, spec: HostSpec) -> Self:
        """The recipe by which a host of `spec` quantizes `source`."""
        return cls(
            weight_digest=source.digest,
            config_sha256=file_sha256(source.folder / "config.json"),
            quantization=spec.quantization,
            compute_dtype=spec.compute_dtype,
            device=spec.device.partition(":")[0],
            libraries={name: version(name) for name in LIBRARIES},
        )

    @property
    def name(self) -> str:
        """A folder name that no other recipe has."""
        return f"{self.quantization}-{hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:32]}"


class CacheManifest(Frozen):
    """Written last, so that its presence proves the other files."""

    recipe: Recipe
    files: tuple[FileDigest, ...]
    resident_digest: str


class PrequantizedCache:
    """One recipe's place below the host's cache folder. Several hosts may read and write it at once: folders appear
    and vanish whole, and all of them hold the same weights.
    """

    def __init__(self, cache_dir: Path, recipe: Recipe) -> None:
        self.folder = cache_dir / recipe.name
        self._recipe = recipe

    def verified(self) -> CacheManifest | None:
        """The manifest of a whole cache; None when there is none. A damaged one is thrown away."""
        if not self.folder.is_dir():
            return None
        try:
            manifest = CacheManifest.model_validate_json((self.folder / MANIFEST).read_bytes())
            found = tuple(file for file in digest_folder(self.folder) if file.path != MANIFEST)
        except (OSError, ValidationError) as error:
            self.discard(type(error).__name__)
            return None
        if found != manifest.files:
            self.discard("files differ from their manifest")
            return None
        return manifest

    def store(self, model: Any, resident_digest: str) -> None:
        """Keep the quantized `model`. Failing is only logged: the base is loaded, and the next host quantizes again."""
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self._sweep()
            staging = Path(tempfile.mkdtemp(prefix=f".{self._recipe.quantization}-", dir=self.folder.parent))
            try:
                self._write(model, resident_digest, staging)
                if not self.folder.is_dir():
                    rename_folder(staging, self.folder)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        except Exception as error:  # noqa: BLE001  # a full disk, or a model that cannot be stored: no reason not to train
            log.warning("quantized weights were not kept in %s: %s", self.folder, error)

    def discard(self, why: str) -> None:
        """Throw the folder away; whoever reads it now keeps the open files."""
        log.warning("quantized weights in %s cannot be used and are made anew: %s", self.folder, why)
        grave = self.folder.with_name(f".{self.folder.name}.discarded-{uuid.uuid4().hex}")
        try:
            self.folder.rename(grave)
            shutil.rmtree(grave)
        except OSError as error:
            log.warning("%s could not be removed: %s", self.folder, error)

    def _sweep(self) -> None:
        """Remove what hosts that died while writing, or throwing away, have left behind."""
        for left in self.folder.parent.glob(f".{self._recipe.quantization}-*"):
            if time.time() - left.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(left, ignore_errors=True)

    def _write(self, model: Any, resident_digest: str, folder: Path) -> None:
        model.save_pretrained(folder)
        manifest = CacheManifest(recipe=self._recipe, files=digest_folder(folder), resident_digest=resident_digest)
        (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2))

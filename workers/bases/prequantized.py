"""A disk cache of quantized weights, so that the next host loads them without quantizing.

Quantizing reads the weights in full precision and takes about fifteen seconds per billion on a CPU. The cache uses
transformers' own format for bitsandbytes models: safetensors and a config with the quantization.
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
ABANDONED_S: Final = 86_400  # no host writes or reads a hidden folder for this long
LIBRARIES: Final = ("bitsandbytes", "torch", "transformers")
log = logging.getLogger(__name__)


class Recipe(Frozen):
    """Everything that quantized weights depend on. Another library version may round, name or pack them differently."""

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
        """A folder name unique to this recipe."""
        return f"{self.quantization}-{hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:32]}"


class CacheManifest(Frozen):
    """Written last, so that its presence proves the other files."""

    recipe: Recipe
    files: tuple[FileDigest, ...]
    resident_digest: str


class PrequantizedCache:
    """One recipe's folder below the host's cache folder. Several hosts may read and write it at once: folders are
    renamed into and out of place, and all contain the same weights.
    """

    def __init__(self, cache_dir: Path, recipe: Recipe) -> None:
        self.folder = cache_dir / recipe.name
        self._recipe = recipe

    def verified(self) -> CacheManifest | None:
        """The manifest of a complete cache; None when there is none. A damaged cache is discarded."""
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
        """Store the quantized `model`. A failure is only logged: the base is loaded, the next host quantizes again."""
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
        except Exception as error:  # noqa: BLE001  # a full disk or a model that cannot be stored must not stop training
            log.warning("could not store quantized weights in %s: %s", self.folder, error)

    def discard(self, why: str) -> None:
        """Delete the folder. A process that reads it now keeps its open files."""
        log.warning("discarding the quantized weights in %s, the base is quantized again: %s", self.folder, why)
        grave = self.folder.with_name(f".{self.folder.name}.discarded-{uuid.uuid4().hex}")
        try:
            self.folder.rename(grave)
            shutil.rmtree(grave)
        except OSError as error:
            log.warning("could not delete %s: %s", self.folder, error)

    def _sweep(self) -> None:
        """Delete folders left by hosts that died while they wrote or discarded one."""
        for left in self.folder.parent.glob(f".{self._recipe.quantization}-*"):
            if time.time() - left.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(left, ignore_errors=True)

    def _write(self, model: Any, resident_digest: str, folder: Path) -> None:
        model.save_pretrained(folder)
        manifest = CacheManifest(recipe=self._recipe, files=digest_folder(folder), resident_digest=resident_digest)
        (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2))

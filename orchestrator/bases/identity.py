"""What a mark is compared with: the catalogue's entry of a base, and its files as this machine sees them."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from orchestrator.catalogue.hub import cached_folder
from orchestrator.catalogue.refusal import Refused
from workers.contract.base import BaseSpec


def entry_sha256(base: BaseSpec, target_modules: Sequence[str]) -> str:
    """The digest of what hosts are given of an entry."""
    content = [base.model_dump(mode="json"), list(target_modules)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class BaseFiles:
    """The files of a base by name, size and times; their content is not read."""

    sha256: str = ""
    """Empty: this machine sees none."""
    changed_at: datetime | None = None
    """The last change of any of them, by the clock of their file system."""

    @classmethod
    def of(cls, base: BaseSpec) -> Self:
        """Look at them. What cannot be looked at counts as not seen."""
        try:
            return cls._of_paths(_paths(base))
        except (OSError, Refused):
            return cls()

    @classmethod
    def _of_paths(cls, paths: Iterable[Path]) -> Self:
        digest, newest = hashlib.sha256(), 0
        for path in sorted(paths):
            seen = path.stat()
            # A change of content or permissions moves the one time, a touch the other.
            digest.update(f"{path}\0{seen.st_size}\0{seen.st_mtime_ns}\0{seen.st_ctime_ns}\n".encode())
            newest = max(newest, seen.st_ctime_ns)
        if not newest:
            return cls()
        return cls(digest.hexdigest(), datetime.fromtimestamp(newest / 1e9, UTC))


def _paths(base: BaseSpec) -> list[Path]:
    location = Path(base.location)
    if base.scheme == "gguf":
        return [location]
    folder = location if base.scheme == "file" else cached_folder(base.location, base.revision)
    return [path for path in folder.rglob("*") if path.is_file()]

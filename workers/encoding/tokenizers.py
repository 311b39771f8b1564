"""Tokenizers of bases, without their weights, the last used of them kept in memory."""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from workers.contract.base import BaseSpec
from workers.contract.errors import BaseUnavailable, BaseUnusable, WorkerError
from workers.contract.guard import missing, require_plain
from workers.contract.owned_folder import owned_folder, remove_abandoned
from workers.hub import snapshot
from workers.storage import rename_folder

FILES: Final = ("*.json", "*.model", "*.txt", "*.jinja")
KEPT: Final = 4
STAGING: Final = ".tokenizer-"
log = logging.getLogger(__name__)


class Tokenizers:
    """Tokenizers by base. One whose files change is loaded again."""

    def __init__(self, load: Callable[[Path], Any] | None = None) -> None:
        self._load = load or _load
        self._kept: OrderedDict[tuple[str, str], Any] = OrderedDict()

    def of(self, base: BaseSpec, cache_dir: Path) -> Any:
        """The base's tokenizer. Raises: BaseUnusable, BaseRefused, which are of the base; BaseUnavailable."""
        try:
            folder = _folder(base, cache_dir)
            key = (str(folder), _state(folder))
            if key not in self._kept:
                self._kept[key] = self._load(folder)
        except (WorkerError, MemoryError):
            raise
        except OSError as error:
            raise BaseUnavailable(
                f"the tokenizer of base {base.id} could not be read: {type(error).__name__}"
            ) from error
        except Exception as error:
            log.exception("the tokenizer of base %s could not be loaded", base.id)
            raise BaseUnusable(
                f"the tokenizer of base {base.id} could not be loaded ({type(error).__name__}); the operator has to "
                "correct its files"
            ) from error
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]


def _folder(base: BaseSpec, cache_dir: Path) -> Path:
    """Where the tokenizer's files are."""
    if base.scheme == "hf":
        return snapshot(base, FILES)
    if base.scheme == "gguf":
        return _unpacked(Path(base.location), cache_dir)
    folder = Path(base.location)
    require_plain(folder)
    return folder


def _unpacked(file: Path, cache_dir: Path) -> Path:
    """The tokenizer of a GGUF file as a folder, made once for a file of that size and time."""
    if not file.is_file():
        raise missing(file, "file")
    target = cache_dir / f"tokenizer-{_digest(_stamp(file))}"
    if target.is_dir():
        return target
    from transformers import AutoTokenizer

    cache_dir.mkdir(parents=True, exist_ok=True)
    remove_abandoned(STAGING, cache_dir)
    with owned_folder(STAGING, cache_dir) as staging:
        AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(staging)
        if not target.is_dir():
            rename_folder(staging, target)
    return target


def _load(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def _state(folder: Path) -> str:
    """Changes with the files that a tokenizer is made of."""
    files = sorted(path for pattern in FILES for path in folder.glob(pattern))
    return _digest("".join(map(_stamp, files)))


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{path} {status.st_size} {status.st_mtime_ns}\n"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]

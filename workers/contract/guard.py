"""What a base folder may contain. Files that could run code when loaded are refused, by name."""

import json
from pathlib import Path
from typing import Final

from workers.contract.errors import BaseRefused, BaseUnavailable, BaseUnusable

REFUSED_SUFFIXES: Final = frozenset(
    {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack", ".joblib", ".npy", ".npz", ".py", ".so"}
)
CONFIG_FILES: Final = ("config.json", "tokenizer_config.json", "processor_config.json")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors of a base folder that passed the guard, sorted by name.

    Raises: BaseUnusable for a missing folder or a broken config, BaseUnavailable for one whose file system is away,
    BaseRefused for pickles, code and no safetensors.
    """
    require_plain(folder)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise BaseRefused("base contains no *.safetensors file; convert its weights to safetensors")
    return files


def require_plain(folder: Path) -> None:
    """Refuse a folder with pickles or code. Raises: as `weight_files`."""
    if not folder.is_dir():
        raise missing(folder, "folder")
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in REFUSED_SUFFIXES:
            name = path.relative_to(folder).as_posix()
            raise BaseRefused(f"base contains {name}; Orchard loads only safetensors and JSON: convert and delete it")
    for name in CONFIG_FILES:
        _refuse_remote_code(folder / name)


def missing(path: Path, what: str) -> BaseUnusable | BaseUnavailable:
    """The error for a base that is not where the catalogue says. An empty folder where it should be is what is left of
    a file system that is not mounted.
    """
    there = next((each for each in path.parents if each.is_dir()), None)
    if there is not None and not any(there.iterdir()):
        return BaseUnavailable(f"the {what} of the base is away: the place where it should be is empty, not mounted")
    return BaseUnusable(f"the {what} of the base does not exist; check the source in the catalogue")


def _refuse_remote_code(config: Path) -> None:
    if not config.is_file():
        return
    try:
        content = json.loads(config.read_bytes())
    except ValueError as error:
        raise BaseUnusable(f"{config.name} of the base is not valid JSON; fetch it again") from error
    if not isinstance(content, dict):
        raise BaseUnusable(f"{config.name} of the base holds no JSON object; fetch it again")
    if "auto_map" in content:
        raise BaseRefused(f"{config.name} names remote code in auto_map; Orchard never runs a base's code")

"""The headers of safetensors files: which tensors a base holds, read without torch and without the weights.

A file is 8 bytes (little endian) with the length of the header, the header as JSON, and the bytes of the tensors.
Source: https://github.com/huggingface/safetensors#format
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from orchestrator.catalogue.refusal import Refused
from workers.contract.base import DECODER_LINEARS, LinearShape

INDEX: Final = "model.safetensors.index.json"
LENGTH_BYTES: Final = 8
LONGEST_HEADER: Final = 100_000_000  # the bound of the format's own library
_IN_A_LAYER: Final = re.compile(r"\.\d+\.(?:.*\.)?(?P<linear>[^.]+)\.weight$")
_EXPERT: Final = ".experts."  # experts are stacked when loaded: no linears of their own
_ROUTER: Final = frozenset({"gate", "router"})
_OTHER_NETWORKS: Final = frozenset({"vision_tower", "multi_modal_projector"})

Shapes = Mapping[str, tuple[int, ...]]
"""Tensor name -> sizes."""


def read_shapes(files: Iterable[Path]) -> Shapes:
    """The tensors of all files. Raises: Refused for a file that is not whole."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        shapes.update(_read_header(file))
    return shapes


def require_all_shards(folder: Path, files: Iterable[Path]) -> None:
    """Raises: Refused when the index names a file that the folder lacks."""
    index = folder / INDEX
    if not index.is_file():
        return
    try:
        named = set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise Refused(f"{INDEX} is not a valid index of weight files") from error
    if missing := sorted(named - {file.name for file in files}):
        raise Refused(f"{INDEX} names {missing[0]}, which is missing ({len(missing)} of {len(named)} files)")


def count_parameters(shapes: Shapes) -> int:
    """All weights."""
    return sum(math.prod(sizes) for sizes in shapes.values())


def linears_of(shapes: Shapes, *, transposed: bool = False) -> tuple[LinearShape, ...]:
    """The linears inside layers by the last part of their names and their sizes, the usual names first.

    Raises: Refused when there are none.
    """
    found: Counter[tuple[str, int, int]] = Counter()
    for name, sizes in shapes.items():
        match = _IN_A_LAYER.search(name)
        if match is None or len(sizes) != 2 or _EXPERT in name or match["linear"] in _ROUTER or _is_elsewhere(name):
            continue
        outputs, inputs = reversed(sizes) if transposed else sizes
        found[match["linear"], inputs, outputs] += 1
    if not found:
        raise Refused("its layers hold no linear that an adapter could be trained on")
    order = {name: place for place, name in enumerate(DECODER_LINEARS)}
    kinds = sorted(found, key=lambda kind: (order.get(kind[0], len(order)), kind))
    return tuple(LinearShape(name=kind[0], inputs=kind[1], outputs=kind[2], count=found[kind]) for kind in kinds)


def count_experts(shapes: Shapes) -> int:
    """Weights of experts, which hosts hold as stacked tensors."""
    return sum(math.prod(sizes) for name, sizes in shapes.items() if _EXPERT in name)


def _is_elsewhere(name: str) -> bool:
    """Whether the tensor belongs to a network beside the decoder."""
    return any(part in _OTHER_NETWORKS for part in name.split("."))


def _read_header(file: Path) -> dict[str, tuple[int, ...]]:
    size = file.stat().st_size
    with file.open("rb") as content:
        length = int.from_bytes(content.read(LENGTH_BYTES), "little")
        if size < LENGTH_BYTES or length > min(LONGEST_HEADER, size - LENGTH_BYTES):
            raise Refused(f"{file.name} is truncated or no safetensors file: {size} bytes do not hold its header")
        text = content.read(length)
    try:
        header: dict[str, Any] = json.loads(text)
        header.pop("__metadata__", None)
        shapes = {name: tuple(int(each) for each in tensor["shape"]) for name, tensor in header.items()}
        end = max((int(tensor["data_offsets"][1]) for tensor in header.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise Refused(f"{file.name} is no safetensors file: its header cannot be read") from error
    if size < (wanted := LENGTH_BYTES + length + end):
        raise Refused(f"{file.name} is truncated: {size} bytes of {wanted}; fetch it again")
    return shapes

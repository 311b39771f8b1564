"""What one machine of the cluster does its own way: where it keeps its cache, and where bases lie on it.

The catalogue is the same for all; a node may mount its folders elsewhere. Its variables are set where Ray is started on
it (`ray start`), whose workers inherit them. May import: the standard library and `workers.contract`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final, Self

from workers.contract.base import BaseSpec
from workers.contract.encoding import EncodeOrder
from workers.contract.spec import HostSpec

CACHE_DIR: Final = "ORCHARD_NODE_CACHE_DIR"
SOURCES: Final = "ORCHARD_NODE_SOURCES"


@dataclass(frozen=True)
class Node:
    """The settings of this machine."""

    cache_dir: str | None = None
    """Replaces the cluster's `ORCHARD_CACHE_DIR`."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Folder or file in the catalogue -> the same on this machine; the longest that fits counts."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Read both variables. Raises: ValueError naming the one that is wrong."""
        return cls(environment.get(CACHE_DIR) or None, _sources(environment.get(SOURCES, "")))

    def localize(self, spec: HostSpec) -> HostSpec:
        """The same host with this machine's paths. The base keeps its id, so jobs still know it."""
        return spec.model_copy(update=self._paths(spec.base))

    def localize_order(self, order: EncodeOrder) -> EncodeOrder:
        """The same order with this machine's paths."""
        return order.model_copy(update=self._paths(order.base))

    def _paths(self, base: BaseSpec) -> dict[str, Any]:
        changes: dict[str, Any] = {"base": self._base(base)}
        if self.cache_dir is not None:
            changes["cache_dir"] = self.cache_dir
        return changes

    def _base(self, base: BaseSpec) -> BaseSpec:
        if base.scheme == "hf":
            return base  # found by name in the node's own cache (HF_HOME)
        location = PurePosixPath(base.location)
        fitting = [prefix for prefix in self.sources if location.is_relative_to(prefix)]
        if not fitting:
            return base
        prefix = max(fitting, key=lambda each: len(PurePosixPath(each).parts))
        local = PurePosixPath(self.sources[prefix]) / location.relative_to(prefix)
        return base.model_copy(update={"source": f"{base.scheme}:{local}"})


def _sources(text: str) -> dict[str, str]:
    """`/models=/mnt/models`, several with commas between, or a JSON object where paths hold either sign."""
    text = text.strip()
    if text.startswith("{"):
        try:
            pairs = list(json.loads(text).items())
        except ValueError as error:
            raise ValueError(f"{SOURCES} is no valid JSON: {error}") from None
    else:
        pairs = [tuple(part.strip().split("=")) for part in text.split(",") if part.strip()]
    for pair in pairs:
        if len(pair) != 2 or not all(isinstance(path, str) and path.startswith("/") for path in pair):
            raise ValueError(f"{SOURCES}: {pair!r} is not a pair of absolute paths; write /in/catalogue=/on/this/node")
    return dict(pairs)

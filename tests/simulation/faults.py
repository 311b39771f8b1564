"""Injected faults: drawn from the schedule's seed, counted, and identified by type."""

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy.exc import OperationalError

from orchestrator.cluster.port import HostUnreachable
from orchestrator.registry.errors import RegistryUnavailable
from workers.contract.errors import InfraError

KINDS: Final = (
    "call lost",
    "answer lost",
    "call doubled",
    "nonsense answered",
    "cluster away",
    "host dies",
    "host hangs",
    "host lost from sight",
    "host fails to load",
    "seat fails",
    "user error",
    "storage fails",
    "byte flipped",
    "registry away",
    "registry's answer lost",
    "transaction refused",
    "commit's answer lost",
    "orchestrator dies",
    "API dies",
    "another orchestrator acts",
    "base cannot be loaded",
    "encoder dies",
    "encoder fails",
    "encoder restarts under its name",
    "file refused",
    "encoded rows lost",
)


class Injected:
    """Marks an exception as a fault of the simulation, not a bug of the product."""


class Died(BaseException, Injected):
    """The process ends on this line, as by `kill -9`: no handler for errors sees it."""


class LostCall(HostUnreachable, Injected):
    """No answer came."""


class Nonsense(InfraError, Injected):
    """An answer that makes no sense."""


class BrokenStorage(OSError, Injected):
    """Storage failed."""


class RegistryAway(RegistryUnavailable, Injected):
    """The registry did not answer."""


class LostConnection(OperationalError, Injected):
    """The database went away."""

    def __init__(self) -> None:
        super().__init__("COMMIT", None, Exception("server closed the connection unexpectedly"))


@dataclass
class Faults:
    """A subset of the kinds, each at a rate of 1-5 %, both drawn from the seed; quiet until `on`."""

    seed: int
    on: bool = False
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.rates = {kind: self.rng.uniform(0.01, 0.05) for kind in KINDS if self.rng.random() < 0.6}

    def strike(self, kind: str, weight: float = 1) -> bool:
        """Whether a fault of this kind happens here and now."""
        if not self.on or self.rng.random() >= self.rates.get(kind, 0) * weight:
            return False
        self.counts[kind] += 1
        return True

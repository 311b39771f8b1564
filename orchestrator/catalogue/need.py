"""Whether a job fits a device: asked at submission, by the planner and by `why`, and answered here alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from orchestrator.catalogue.entries import Flavor
from workers.contract.lanes import Lane
from workers.contract.memory import Footprint, estimate, least_pass_bytes
from workers.contract.spec import JobSpec


@dataclass(frozen=True)
class HostNeed:
    """A fresh host with one job alone on it."""

    footprint: Footprint
    """By estimate, as of a host that recomputes when memory is short."""
    seat_bytes: int
    pass_tokens: int
    """Of the largest micro-batch that the job may bring."""
    lane: Lane

    @classmethod
    def of(cls, spec: JobSpec) -> Self:
        """What the job of this spec needs."""
        footprint = estimate(spec.base.shape, spec.quantization, spec.compute_dtype)
        return cls(footprint, spec.seat_bytes, spec.pass_tokens, spec.lane)

    @property
    def pass_bytes(self) -> int:
        """What must be free for passes. Only the fused lane recomputes activations that memory has no room for."""
        return least_pass_bytes(self.footprint.on(recomputes=self.lane is Lane.FUSED), self.pass_tokens)

    @property
    def total_bytes(self) -> int:
        """What the host takes at least."""
        return self.footprint.resident_bytes + self.seat_bytes + self.pass_bytes

    def fits(self, flavor: Flavor) -> bool:
        """Whether it could be started on a device of the flavor."""
        return self.total_bytes <= flavor.memory_bytes

    def flavor_of(self, flavors: Sequence[Flavor]) -> Flavor:
        """The one to name: the first that it fits, as the planner takes them, else the largest."""
        largest = max(flavors, key=lambda flavor: flavor.memory_bytes)
        return next((flavor for flavor in flavors if self.fits(flavor)), largest)

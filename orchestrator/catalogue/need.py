"""Whether a job fits a device: asked at submission, by the planner and by `why`, and answered here alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from orchestrator.catalogue.entries import Flavor
from workers.contract.memory import Footprint, estimate, least_pass_bytes, pass_positions, seat_bytes
from workers.contract.spec import JobSpec


@dataclass(frozen=True)
class HostNeed:
    """A fresh host with one job alone on it."""

    footprint: Footprint
    """By estimate, as of a host that recomputes when memory is short."""
    seat_bytes: int
    pass_positions: int
    """Of the largest micro-batch that the job may bring."""

    @classmethod
    def of(cls, spec: JobSpec) -> Self:
        """What the job of this spec needs."""
        footprint = estimate(spec.base.shape, spec.quantization, spec.compute_dtype)
        return cls(footprint, seat_bytes(spec), pass_positions(spec))

    def pass_bytes_on(self, flavor: Flavor) -> int:
        """What must be free for passes on a host of the flavor."""
        return least_pass_bytes(self.footprint.on(recomputes=flavor.recomputes), self.pass_positions)

    def bytes_on(self, flavor: Flavor) -> int:
        """What the host takes at least on a device of the flavor."""
        return self.footprint.resident_bytes + self.seat_bytes + self.pass_bytes_on(flavor)

    def fits(self, flavor: Flavor) -> bool:
        """Whether it could be started on a device of the flavor."""
        return self.bytes_on(flavor) <= flavor.memory_bytes

    def flavor_of(self, flavors: Sequence[Flavor]) -> Flavor:
        """The one to name: the first that it fits, as the planner takes them, else the largest."""
        largest = max(flavors, key=lambda flavor: flavor.memory_bytes)
        return next((flavor for flavor in flavors if self.fits(flavor)), largest)

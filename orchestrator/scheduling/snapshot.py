"""What the planner sees: values, no rows."""

from dataclasses import dataclass
from datetime import datetime

from orchestrator.catalogue.entries import Flavor
from orchestrator.jobs.transition import JobRef
from workers.contract.base import ComputeDtype, Quantization


@dataclass(frozen=True, order=True)
class ResidentKey:
    """What a host holds. Jobs with equal keys can share a host."""

    base_id: str
    quantization: Quantization
    compute_dtype: ComputeDtype

    def __str__(self) -> str:
        return f"{self.base_id} ({self.quantization})"


@dataclass(frozen=True)
class WaitingJob:
    """A queued job that may start now."""

    ref: JobRef
    key: ResidentKey
    priority: int
    submitted: int  # place in the order of submission
    seat_bytes: int
    host_bytes: int  # a fresh host with this job alone
    reason: str | None = None  # why it waits, as its owner was last told
    offered: bool = True  # its base is in the catalogue, so a host may be started for it


@dataclass(frozen=True)
class HostView:
    """A host that lives or is being started."""

    id: str
    key: ResidentKey
    flavor: str
    ready: bool
    seats_taken: int
    free_bytes: int
    idle_since: datetime | None
    max_seats: int


@dataclass(frozen=True)
class Snapshot:
    """One consistent look at the queue and the hosts."""

    waiting: tuple[WaitingJob, ...]
    hosts: tuple[HostView, ...]
    flavors: tuple[Flavor, ...]
    retiring: dict[str, int]
    """Devices still held by hosts on their way out, by flavor."""
    spare_ids: tuple[str, ...]
    """Ids for hosts the plan may start; drawn beforehand, so that the plan stays a pure function."""
    host_idle_s: int

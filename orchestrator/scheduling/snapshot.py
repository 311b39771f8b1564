"""The planner's input: values, not rows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from orchestrator.catalogue.entries import Flavor
from orchestrator.catalogue.need import HostNeed
from orchestrator.lifecycle.transition import JobRef
from orchestrator.lifecycle.turns import TenantShare
from orchestrator.queries.blockers import Constraint
from workers.contract.base import ComputeDtype, Quantization
from workers.contract.lanes import Lane
from workers.contract.memory import Footprint, least_pass_bytes


@dataclass(frozen=True, order=True)
class ResidentKey:
    """What a host holds. Jobs with equal keys can share a host."""

    base_id: str
    quantization: Quantization
    compute_dtype: ComputeDtype
    task: str
    lane: Lane

    @property
    def columns(self) -> tuple[str, ...]:
        """As rows of jobs, hosts and marks have it."""
        return self.base_id, self.quantization.value, self.compute_dtype.value, self.task, self.lane.value

    def __str__(self) -> str:
        return f"{self.base_id} ({self.quantization}, {self.lane})"


Shape = tuple[ResidentKey, int, int]
"""Resident key, bytes of a seat, tokens of a pass: where one job has no place, its equals have none."""


@dataclass(frozen=True)
class WaitingJob:
    """A queued job that may start now."""

    ref: JobRef
    key: ResidentKey
    priority: int  # among its tenant's jobs
    submitted: int  # position in submission order
    since: datetime  # when it joined the queue, the last time
    seat_bytes: int
    pass_tokens: int  # of its largest possible micro-batch
    footprint: Footprint | None  # estimate for a new host; None: its base is no longer in the catalogue
    reason: str | None = None  # why it waits, as last written
    constraint: Constraint | None = None  # the kind of that reason
    kept_host_id: str | None = None  # the host that takes no other job before this one has its place

    @property
    def rank(self) -> tuple[str, int]:
        """Its tenant and its priority there: jobs of equal rank may be served in any order that is fair."""
        return self.ref.tenant_id, self.priority

    @property
    def shape(self) -> Shape:
        """What it asks of a host."""
        return self.key, self.seat_bytes, self.pass_tokens

    @property
    def need(self) -> HostNeed | None:
        """A new host with only this job on it; None if none may be started for it."""
        return (
            None
            if self.footprint is None
            else HostNeed(self.footprint, self.seat_bytes, self.pass_tokens, self.key.lane)
        )

    def fits(self, flavor: Flavor) -> bool:
        """Whether a host could be started for this job on a device of the flavor."""
        return self.need is not None and self.need.fits(flavor)


@dataclass(frozen=True)
class HostView:
    """A host that is live or starting."""

    id: str
    key: ResidentKey
    flavor: str
    ready: bool
    seats_taken: int
    free_bytes: int  # besides base and seats: for passes and further seats
    idle_since: datetime | None
    max_seats: int
    footprint: Footprint
    devices: int = 1
    pass_tokens: int = 0  # of its seats' largest possible micro-batch
    taken_bytes: int = 0  # by its seats
    ready_since: datetime | None = None

    def has_room(self, job: WaitingJob) -> bool:
        """Whether the job fits here together with every micro-batch."""
        return self.seats_taken < self.max_seats and self.has_memory(job)

    def has_memory(self, job: WaitingJob) -> bool:
        """Whether it would fit here if one more seat were free."""
        largest = max(self.pass_tokens, job.pass_tokens)
        return job.seat_bytes + least_pass_bytes(self.footprint, largest) <= self.free_bytes

    def could_hold(self, job: WaitingJob) -> bool:
        """Whether it would fit here if nobody else were here."""
        needed = job.seat_bytes + least_pass_bytes(self.footprint, job.pass_tokens)
        return self.max_seats > 0 and self.key == job.key and needed <= self.free_bytes + self.taken_bytes

    def with_seat(self, job: WaitingJob) -> "HostView":
        """The host with the job added."""
        return replace(
            self,
            seats_taken=self.seats_taken + 1,
            free_bytes=self.free_bytes - job.seat_bytes,
            taken_bytes=self.taken_bytes + job.seat_bytes,
            pass_tokens=max(self.pass_tokens, job.pass_tokens),
            idle_since=None,
        )


@dataclass(frozen=True)
class Snapshot:
    """A consistent view of the queue and the hosts."""

    waiting: tuple[WaitingJob, ...]
    hosts: tuple[HostView, ...]
    flavors: tuple[Flavor, ...]
    retiring: dict[str, int]
    """Devices still held by stopping hosts, by flavor."""
    spare_ids: tuple[str, ...]
    """Ids for hosts that the plan may start; generated in advance to keep `plan` pure."""
    host_idle_s: int
    max_bypass_s: int
    """How long others may be placed while a job finds no room, until a host is kept free for it."""
    shares: Mapping[str, TenantShare]
    """Of every tenant with waiting jobs, by id."""

"""What a plan consists of."""

from dataclasses import dataclass

from orchestrator.lifecycle.transition import JobRef
from orchestrator.queries.blockers import Constraint
from orchestrator.scheduling.snapshot import ResidentKey


@dataclass(frozen=True)
class StartHost:
    """Start a host for `key` on a free device of `flavor`."""

    host_id: str
    key: ResidentKey
    flavor: str
    for_job: str


@dataclass(frozen=True)
class Admit:
    """Reserve a seat for the job on the host."""

    job: JobRef
    host_id: str


@dataclass(frozen=True)
class RetireHost:
    """Retire a host without taken seats."""

    host_id: str
    why: str


@dataclass(frozen=True)
class KeepFree:
    """Let the host take no job but this one, until it has its place, leaves the queue, or the plan says otherwise."""

    job: JobRef
    host_id: str | None
    """None: the host that was kept for it can no longer serve it."""


@dataclass(frozen=True)
class Wait:
    """Leave the job in the queue and tell its owner why."""

    job: JobRef
    reason: str
    constraint: Constraint


Action = StartHost | Admit | RetireHost | KeepFree | Wait

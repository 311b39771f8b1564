"""Why a job waits, in words that its owner reads. Of other jobs they tell nothing but that they are there.

They name no counts that change at every pass: a reason is written again whenever it differs.
"""

from collections.abc import Sequence

from orchestrator.catalogue.entries import Flavor
from orchestrator.queries.blockers import Constraint
from orchestrator.scheduling.snapshot import HostView, WaitingJob

Reason = tuple[str, Constraint]


def making_room(job: WaitingJob) -> Reason:
    """A device is about to be free."""
    return (
        f"Waiting for a device: an idle host is leaving one that has room for {job.key}.",
        Constraint.DEVICE,
    )


def kept_for(job: WaitingJob, host: HostView, max_bypass_s: float) -> Reason:
    """A host takes no other job before this one."""
    waited = f"It has waited for more than {max_bypass_s:.0f} s"
    if host.key == job.key:
        return (
            f"{waited}, so a host that holds {job.key} takes no other job until it has room for "
            f"{_gb(job.seat_bytes)} more. The job starts there.",
            Constraint.SEAT,
        )
    return (
        f"{waited}, so a device is kept free for it: a host of another base takes no more jobs and ends when its last "
        f"one is over. Then a host of {job.key} starts there.",
        Constraint.DEVICE,
    )


def behind_kept(job: WaitingJob) -> Reason:
    """All hosts of its base are kept for others."""
    return (
        f"No host that holds {job.key} takes a new job at present: its device is kept free for a job that found no "
        "room for too long. Running jobs are not stopped.",
        Constraint.DRAIN,
    )


def kept_for_its_base(job: WaitingJob) -> Reason:
    """A device is kept for another job of the same key."""
    return (
        f"Waiting for a device: one is kept free for a host of {job.key}, because a job for it has found none for too "
        "long.",
        Constraint.DRAIN,
    )


def no_seat(job: WaitingJob, same: Sequence[HostView]) -> Reason:
    """Hosts hold its base, and have no room."""
    return (
        f"Waiting for a seat: {len(same)} host(s) hold {job.key}, and none has room for {_gb(job.seat_bytes)} more. "
        "It starts when jobs there end and its tenant has the turn.",
        Constraint.SEAT,
    )


def no_device(job: WaitingJob, flavors: Sequence[Flavor], fitting: Sequence[Flavor], max_bypass_s: float) -> Reason:
    """No host holds its base, and none can be started now, or ever."""
    if job.need is None:
        return (
            f"Cannot be placed: {job.key.base_id} is no longer in the catalogue. Cancel it, or ask your operator.",
            Constraint.PLACEMENT,
        )
    needed = _gb(job.need.total_bytes)
    if not fitting:
        largest = job.need.flavor_of(flavors)
        return (
            f"Cannot be placed: it needs {needed} on one device, and the largest configured device "
            f"has {_gb(largest.memory_bytes)}. Request less, or have a flavor added.",
            Constraint.PLACEMENT,
        )
    names = ", ".join(f"{flavor.name} ({flavor.count})" for flavor in fitting)
    return (
        f"Waiting for a device: {job.key} needs {needed}, and every device of {names} is busy. If none becomes free, "
        f"one is kept free for it once it has waited for {max_bypass_s:.0f} s and its tenant has the turn.",
        Constraint.DEVICE,
    )


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"

"""`plan`: maps a snapshot to actions. No I/O, no clock, no randomness."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.catalogue.entries import Flavor
from orchestrator.lifecycle.transition import JobRef
from orchestrator.scheduling.snapshot import HostView, ResidentKey, Snapshot, WaitingJob
from workers.contract.lanes import Lane


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
class Wait:
    """Leave the job in the queue and tell its owner why."""

    job: JobRef
    reason: str


Action = StartHost | Admit | RetireHost | Wait


def plan(snapshot: Snapshot, now: datetime) -> list[Action]:
    """Place waiting jobs, highest priority first, then longest wait."""
    draft = _Draft(snapshot)
    for job in sorted(snapshot.waiting, key=lambda job: (-job.priority, job.submitted)):
        draft.place(job)
    draft.retire_idle(now)
    return draft.actions


class _Draft:
    """The cluster after the actions so far."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.actions: list[Action] = []
        self._flavors = {flavor.name: flavor for flavor in snapshot.flavors}
        self._hosts = {host.id: host for host in snapshot.hosts}
        self._retiring = dict(snapshot.retiring)
        self._spare_ids = list(snapshot.spare_ids)
        self._idle = timedelta(seconds=snapshot.host_idle_s)

    def place(self, job: WaitingJob) -> None:
        host = self._warm_host(job) or self._fresh_host(job)
        if host is None:
            reason = self._make_room(job) or self._why_waiting(job)
            if reason != job.reason:
                self.actions.append(Wait(job.ref, reason))
            return
        self._hosts[host.id] = host.with_seat(job)
        self.actions.append(Admit(job.ref, host.id))

    def retire_idle(self, now: datetime) -> None:
        for host in list(self._hosts.values()):
            if host.seats_taken == 0 and host.idle_since is not None and now - host.idle_since >= self._idle:
                self._retire(host, f"idle for {int(self._idle.total_seconds())} s")

    def _warm_host(self, job: WaitingJob) -> HostView | None:
        """A host that holds the job's base and has room; ready ones first, then the emptiest."""
        fitting = [host for host in self._hosts.values() if host.key == job.key and host.has_room(job)]
        return min(fitting, key=lambda host: (not host.ready, host.seats_taken, host.id), default=None)

    def _fresh_host(self, job: WaitingJob) -> HostView | None:
        """A new host on the first flavor, in catalogue order, with a large enough free device."""
        for flavor in self._fitting(job):
            if job.footprint is not None and self._free_devices(flavor) > 0 and self._spare_ids:
                footprint = job.footprint.on(recomputes=job.key.lane is Lane.FUSED)
                free = flavor.memory_bytes - footprint.resident_bytes
                name, seats = self._spare_ids.pop(0), seats_of(job.key.lane, flavor)
                host = HostView(name, job.key, flavor.name, False, 0, free, None, seats, footprint)
                self._hosts[host.id] = host
                self.actions.append(StartHost(host.id, job.key, flavor.name, job.ref.id))
                return host
        return None

    def _fitting(self, job: WaitingJob) -> list[Flavor]:
        """Flavors on which a host could be started for this job, in catalogue order."""
        return [flavor for flavor in self._flavors.values() if job.fits(flavor)]

    def _free_devices(self, flavor: Flavor) -> int:
        held = sum(host.devices for host in self._hosts.values() if host.flavor == flavor.name)
        return flavor.count - held - self._retiring.get(flavor.name, 0)

    def _make_room(self, job: WaitingJob) -> str | None:
        """Retire an idle host, of any base, on a device that fits this job; longest idle first."""
        fitting = [flavor.name for flavor in self._fitting(job)]
        if any(self._retiring.get(name, 0) for name in fitting):
            return f"Waiting for a device: an idle host is making room for {job.key}."
        idle = [
            h for h in self._hosts.values() if h.flavor in fitting and h.seats_taken == 0 and h.idle_since is not None
        ]
        if not idle:
            return None
        host = min(idle, key=lambda host: (host.idle_since, host.id))
        self._retire(host, f"makes room for {job.key}")
        return f"Waiting for a device: an idle host is making room for {job.key}."

    def _retire(self, host: HostView, why: str) -> None:
        del self._hosts[host.id]
        self._retiring[host.flavor] = self._retiring.get(host.flavor, 0) + host.devices
        self.actions.append(RetireHost(host.id, why))

    def _why_waiting(self, job: WaitingJob) -> str:
        same = [host for host in self._hosts.values() if host.key == job.key]
        if same:
            taken = sum(host.seats_taken for host in same)
            return (
                f"Waiting for a seat: {len(same)} host(s) hold {job.key} with {taken} seats taken, and none has room "
                f"for {_gb(job.seat_bytes)} more. The job starts when one of them finishes."
            )
        if job.need is None:
            return (
                f"Cannot be placed: {job.key.base_id} is no longer in the catalogue. Cancel it, or ask your operator."
            )
        flavor = job.need.flavor_of(list(self._flavors.values()))
        needed, fitting = job.need.total_bytes, self._fitting(job)
        if not fitting:
            return (
                f"Cannot be placed: it needs {_gb(needed)} on one device, and the largest configured device "
                f"has {_gb(flavor.memory_bytes)}. Request less, or have a flavor added."
            )
        names = ", ".join(f"{flavor.name} ({flavor.count})" for flavor in fitting)
        return f"Waiting for a device: {job.key} needs {_gb(needed)}, and every device of {names} is busy."


def seats_of(lane: Lane, flavor: Flavor) -> int:
    """The number of seats of a lane's host on the flavor: in the solo lane one job owns the host."""
    return 1 if lane is Lane.SOLO else flavor.max_seats


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"

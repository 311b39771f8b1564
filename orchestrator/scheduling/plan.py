"""`plan`: maps a snapshot to actions. No I/O, no clock, no randomness."""

from datetime import datetime, timedelta

from orchestrator.catalogue.entries import Flavor
from orchestrator.scheduling import reasons
from orchestrator.scheduling.actions import Action, Admit, KeepFree, RetireHost, StartHost, Wait
from orchestrator.scheduling.kept import KeptHosts, in_order
from orchestrator.scheduling.reasons import Reason
from orchestrator.scheduling.snapshot import HostView, Shape, Snapshot, WaitingJob
from orchestrator.scheduling.turns import take_turns
from workers.contract.lanes import Lane


def plan(snapshot: Snapshot, now: datetime) -> list[Action]:
    """Place waiting jobs: first those for which a host is kept free, then in turns of their tenants."""
    draft = _Draft(snapshot, now)
    holders = in_order(snapshot.waiting)
    draft.restore(holders)
    shares = dict(snapshot.shares)
    for job in holders:
        if draft.place(job):
            shares[job.ref.tenant_id] = shares[job.ref.tenant_id].with_seat()
    take_turns((job for job in snapshot.waiting if not job.kept_host_id), shares, draft.place)
    draft.retire_idle()
    return draft.actions


class _Draft:
    """The cluster after the actions so far."""

    def __init__(self, snapshot: Snapshot, now: datetime) -> None:
        self.actions: list[Action] = []
        self._now = now
        self._flavors = {flavor.name: flavor for flavor in snapshot.flavors}
        self._hosts = {host.id: host for host in snapshot.hosts}
        self._retiring = dict(snapshot.retiring)
        self._spare_ids = list(snapshot.spare_ids)
        self._idle = timedelta(seconds=snapshot.host_idle_s)
        self._bypass_s = snapshot.max_bypass_s
        self._kept = KeptHosts(timedelta(seconds=snapshot.max_bypass_s), now)
        self._refused: dict[Shape, Reason | None] = {}
        """Shapes without a place, and why if a device is about to be free. Room only shrinks while a plan is made."""
        self._tried: set[tuple[Shape, tuple[str, int], bool]] = set()
        """Shapes, ranks and whether overdue: for these no host could be kept. That does not change either."""
        self._told: dict[Shape, Reason] = {}
        """Why jobs of these shapes wait, until hosts are started, retired or kept."""

    def restore(self, holders: list[WaitingJob]) -> None:
        """Keep the hosts that earlier plans kept. Whose host has gone since is placed first all the same."""
        for job in holders:
            if job.kept_host_id in self._hosts and not self._kept.restore(job, self._places(job)):
                self.actions.append(KeepFree(job.ref, None))

    def place(self, job: WaitingJob) -> bool:
        """Give the job a seat, or see to it that it gets one later and say why it waits."""
        host = None
        if self._kept.host_of(job) or job.shape not in self._refused:
            host = self._warm_host(job) or self._fresh_host(job)
        if host is None:
            self._wait(job)
            return False
        self._hosts[host.id] = host.with_seat(job)
        self.actions.append(Admit(job.ref, host.id))
        return True

    def retire_idle(self) -> None:
        for host in list(self._hosts.values()):
            if host.seats_taken == 0 and host.idle_since is not None and self._now - host.idle_since >= self._idle:
                self._retire(host, f"idle for {int(self._idle.total_seconds())} s")

    def _warm_host(self, job: WaitingJob) -> HostView | None:
        """A host that holds the job's base and has room; ready ones first, then the emptiest."""
        fitting = [
            host
            for host in self._hosts.values()
            if host.key == job.key and host.has_room(job) and not self._kept.closed_to(host, job)
        ]
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
                self._told.clear()
                self.actions.append(StartHost(host.id, job.key, flavor.name, job.ref.id))
                return host
        return None

    def _fitting(self, job: WaitingJob) -> list[Flavor]:
        """Flavors on which a host could be started for this job, in catalogue order."""
        return [flavor for flavor in self._flavors.values() if job.fits(flavor)]

    def _free_devices(self, flavor: Flavor) -> int:
        held = sum(host.devices for host in self._hosts.values() if host.flavor == flavor.name)
        return flavor.count - held - self._retiring.get(flavor.name, 0)

    def _wait(self, job: WaitingJob) -> None:
        if job.shape not in self._refused:
            self._refused[job.shape] = self._make_room(job)
        room = self._refused[job.shape]
        if room is None and self._kept.host_of(job) is None:
            self._keep_a_host(job)
        text, constraint = room or self._why_waiting(job)
        if (text, constraint) != (job.reason, job.constraint):
            self.actions.append(Wait(job.ref, text, constraint))

    def _keep_a_host(self, job: WaitingJob) -> None:
        tried = (job.shape, job.rank, self._kept.is_overdue(job))
        if tried in self._tried:
            return
        if host := self._kept.keep(job, self._places(job)):
            self._told.clear()
            self.actions.append(KeepFree(job.ref, host.id))
        else:
            self._tried.add(tried)

    def _places(self, job: WaitingJob) -> list[HostView]:
        """The hosts of its base that the job would fit if it were alone there; if there is none, those whose device
        would do for a host of its base.
        """
        own = [host for host in self._hosts.values() if host.could_hold(job)]
        fitting = {flavor.name for flavor in self._fitting(job)} if not own else set()
        return own or [host for host in self._hosts.values() if host.flavor in fitting]

    def _make_room(self, job: WaitingJob) -> Reason | None:
        """Retire an idle host, of any base, on a device that fits this job; longest idle first."""
        fitting = [flavor.name for flavor in self._fitting(job)]
        if any(self._retiring.get(name, 0) for name in fitting):
            return reasons.making_room(job)
        idle = [
            h for h in self._hosts.values() if h.flavor in fitting and h.seats_taken == 0 and h.idle_since is not None
        ]
        if not idle:
            return None
        host = min(idle, key=lambda host: (host.idle_since, host.id))
        self._retire(host, f"makes room for {job.key}")
        return reasons.making_room(job)

    def _retire(self, host: HostView, why: str) -> None:
        del self._hosts[host.id]
        self._told.clear()
        self._retiring[host.flavor] = self._retiring.get(host.flavor, 0) + host.devices
        self.actions.append(RetireHost(host.id, why))

    def _why_waiting(self, job: WaitingJob) -> Reason:
        if (kept := self._kept.host_of(job)) in self._hosts:
            return reasons.kept_for(job, self._hosts[kept], self._bypass_s)
        if job.shape not in self._told:
            self._told[job.shape] = self._why_any_waits(job)
        return self._told[job.shape]

    def _why_any_waits(self, job: WaitingJob) -> Reason:
        """Why every job of this shape waits, unless a host is kept for it."""
        same = [host for host in self._hosts.values() if host.key == job.key]
        if same:
            closed = all(self._kept.closed_to(host, job) for host in same)
            return reasons.behind_kept(job) if closed else reasons.no_seat(job, same)
        if self._kept.awaits(job.key):
            return reasons.kept_for_its_base(job)
        return reasons.no_device(job, list(self._flavors.values()), self._fitting(job), self._bypass_s)


def seats_of(lane: Lane, flavor: Flavor) -> int:
    """The number of seats of a lane's host on the flavor: in the solo lane one job owns the host."""
    return 1 if lane is Lane.SOLO else flavor.max_seats

"""Which host is kept free for which job: the bound on how long a job is bypassed. Pure.

A job that finds no room while others are placed waits for `max_bypass` at most. Then a host takes no job but this one:
its seats end, none is stopped, and the job follows. That is a host of the job's own base that it would fit if it were
alone there; if there is none, one of another base on a device where a host can be started for it. The job's row names
the host, so whoever plans next goes on with it, and it is free again once the job has a seat or leaves the queue.

- One host is kept for one job, and of hosts of other bases one for each base that waits, however many jobs do.
- A host of another base has been ready for `max_bypass` before it is kept: bases that compete for a device hand it
  over no more often than that.
- No job takes a host that another tenant's job whose turn is earlier could use, nor one of its own tenant with higher
  priority. Where all have waited for long, turns decide as ever.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orchestrator.scheduling.snapshot import HostView, ResidentKey, WaitingJob


@dataclass
class KeptHosts:
    """The hosts that are kept, and those that jobs with an earlier turn could use."""

    max_bypass: timedelta
    now: datetime
    _holders: dict[str, WaitingJob] = field(default_factory=dict)
    _hosts: dict[str, str] = field(default_factory=dict)
    """By the id of the job."""
    _from_others: set[ResidentKey] = field(default_factory=set)
    """Keys that wait, for which a host of another base is kept."""
    _wanted_by: dict[str, set[tuple[str, int]]] = field(default_factory=lambda: defaultdict(set))

    def host_of(self, job: WaitingJob) -> str | None:
        """The host that is kept for the job."""
        return self._hosts.get(job.ref.id)

    def is_overdue(self, job: WaitingJob) -> bool:
        """Whether it has waited for so long that a host may be kept for it."""
        return self.now - job.since >= self.max_bypass

    def closed_to(self, host: HostView, job: WaitingJob) -> bool:
        """Whether the host is kept for another job."""
        holder = self._holders.get(host.id)
        return holder is not None and holder.ref.id != job.ref.id

    def awaits(self, key: ResidentKey) -> bool:
        """Whether a host of another base is kept for a job of this key."""
        return key in self._from_others

    def restore(self, job: WaitingJob, places: Collection[HostView]) -> bool:
        """Take over what an earlier plan decided, if the job could still be served there."""
        host = next((place for place in places if place.id == job.kept_host_id), None)
        if host is None or self._is_taken(host, job):
            return False
        self._hold(host, job)
        return True

    def keep(self, job: WaitingJob, places: Sequence[HostView]) -> HostView | None:
        """Keep one of the `places` for the job, if it has waited for too long and one is to be had: the one where the
        fewest seats have to end. Otherwise note that it wants them.
        """
        if self.is_overdue(job):
            free = [host for host in places if self._may_be_kept(host, job)]
            if free:
                host = min(free, key=lambda host: (host.seats_taken, host.taken_bytes, host.id))
                self._hold(host, job)
                return host
        for host in places:
            self._wanted_by[host.id].add(job.rank)
        return None

    def _may_be_kept(self, host: HostView, job: WaitingJob) -> bool:
        if self._is_taken(host, job) or not self._wanted_by[host.id] <= {job.rank}:
            return False
        if host.key == job.key:
            return not host.has_memory(job)  # where only a seat is missing, the next one that ends is its own
        return host.ready_since is not None and self.now - host.ready_since >= self.max_bypass

    def _is_taken(self, host: HostView, job: WaitingJob) -> bool:
        return host.id in self._holders or (host.key != job.key and job.key in self._from_others)

    def _hold(self, host: HostView, job: WaitingJob) -> None:
        self._holders[host.id] = job
        self._hosts[job.ref.id] = host.id
        if host.key != job.key:
            self._from_others.add(job.key)


def in_order(waiting: Iterable[WaitingJob]) -> list[WaitingJob]:
    """Jobs for which a host is kept, longest wait first."""
    return sorted((job for job in waiting if job.kept_host_id), key=lambda job: (job.since, job.submitted))

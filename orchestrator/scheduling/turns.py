"""Tenants take turns: the order in which a plan tries to place the waiting jobs. Pure."""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from orchestrator.lifecycle.turns import TenantShare
from orchestrator.scheduling.snapshot import WaitingJob


def take_turns(
    waiting: Iterable[WaitingJob], shares: Mapping[str, TenantShare], place: Callable[[WaitingJob], bool]
) -> None:
    """Offer every job to `place`, which tells whether the job was given a seat.

    The tenant with the smallest share has the turn. It offers its jobs, highest priority first, then oldest, until
    one is given a seat, which makes its share larger. So a tenant's priorities and the length of its queue change
    nothing for the others.
    """
    jobs: dict[str, list[WaitingJob]] = defaultdict(list)
    for job in waiting:
        jobs[job.ref.tenant_id].append(job)
    turns = [(shares[tenant], tenant, iter(_in_order(own))) for tenant, own in jobs.items()]
    heapq.heapify(turns)
    while turns:
        share, tenant, own = turns[0]
        offered = next(own, None)
        if offered is None:
            heapq.heappop(turns)
        elif place(offered):
            heapq.heapreplace(turns, (share.with_seat(), tenant, own))


def _in_order(own: Iterable[WaitingJob]) -> list[WaitingJob]:
    return sorted(own, key=lambda job: (-job.priority, job.submitted))

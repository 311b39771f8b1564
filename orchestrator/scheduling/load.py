"""Loads a snapshot in one short read."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from orchestrator.bases.marks import marks
from orchestrator.catalogue.entries import Catalogue
from orchestrator.db.columns import RESIDENT_KEY
from orchestrator.db.host_states import HOLDS_DEVICE, LIVE, HostState
from orchestrator.db.job_tables import AttemptRow, JobRow
from orchestrator.db.states import JobState
from orchestrator.db.tables import HostRow, UnusableBaseRow
from orchestrator.ids import new_id
from orchestrator.lifecycle.transition import JobRef
from orchestrator.lifecycle.turns import load_shares
from orchestrator.queries.blockers import Constraint
from orchestrator.scheduling.queue import Queued, heads, kept
from orchestrator.scheduling.snapshot import HostView, ResidentKey, Snapshot, WaitingJob
from workers.contract.base import ComputeDtype, Quantization
from workers.contract.lanes import Lane
from workers.contract.memory import Footprint, estimate


def load_snapshot(
    session: Session, catalogue: Catalogue, host_idle_s: int, max_bypass_s: int, now: datetime
) -> Snapshot:
    """Read the queue and hosts for the planner."""
    hosts = session.scalars(
        select(HostRow).where(HostRow.state.in_(HOLDS_DEVICE)).order_by(HostRow.created_at, HostRow.id)
    ).all()
    retiring: dict[str, int] = {}
    for host in hosts:
        if host.state == HostState.STOPPING:
            retiring[host.flavor] = retiring.get(host.flavor, 0) + host.devices
    marked = {_columns(mark) for mark in marks(session, catalogue)}
    found = (*heads(session, now), *kept(session))
    # Jobs of a marked base are about to end: no device is given, kept or made free for them.
    waiting = {row.id: row for row in found if _columns(row) not in marked}
    oldest: dict[str, int] = {}
    for row in waiting.values():
        oldest[row.tenant_id] = min(row.seq, oldest.get(row.tenant_id, row.seq))
    spare = sum(flavor.count for flavor in catalogue.flavors)
    return Snapshot(
        waiting=waiting_jobs(list(waiting.values()), catalogue),
        hosts=host_views(session, [host for host in hosts if host.state in LIVE], catalogue),
        flavors=catalogue.flavors,
        retiring=retiring,
        spare_ids=tuple(new_id("") for _ in range(spare)),
        host_idle_s=host_idle_s,
        max_bypass_s=max_bypass_s,
        shares=load_shares(session, oldest),
    )


def resident_key(row: Queued | HostRow) -> ResidentKey:
    """The key from the columns that jobs and hosts share."""
    return ResidentKey(
        row.base_id, Quantization(row.quantization), ComputeDtype(row.compute_dtype), row.task, Lane(row.lane)
    )


def _columns(row: Queued | UnusableBaseRow) -> tuple[str, ...]:
    return tuple(getattr(row, name) for name in RESIDENT_KEY)


def waiting_jobs(rows: Sequence[Queued], catalogue: Catalogue) -> tuple[WaitingJob, ...]:
    """The rows as the planner's values. Jobs with the same resident key share one footprint estimate."""

    @cache
    def footprint(key: ResidentKey) -> Footprint | None:
        base = catalogue.base(key.base_id)
        return None if base is None else estimate(base.spec.shape, key.quantization, key.compute_dtype)

    keyed = ((row, resident_key(row)) for row in rows)
    return tuple(_waiting_job(row, key, footprint(key)) for row, key in keyed)


def _waiting_job(row: Queued, key: ResidentKey, footprint: Footprint | None) -> WaitingJob:
    return WaitingJob(
        ref=JobRef(row.id, row.tenant_id, JobState(row.state), row.attempt, row.lease_token),
        key=key,
        priority=row.priority,
        submitted=row.seq,
        since=row.state_since,
        seat_bytes=row.memory_bytes,
        pass_tokens=row.pass_tokens,
        footprint=footprint,
        reason=row.queue_reason,
        constraint=None if row.queue_constraint is None else Constraint(row.queue_constraint),
        kept_host_id=row.kept_host_id,
    )


def host_views(session: Session, hosts: list[HostRow], catalogue: Catalogue) -> tuple[HostView, ...]:
    """Hosts with their currently taken seats."""
    usage = session.execute(
        select(AttemptRow.host_id, func.count(), func.sum(AttemptRow.memory_bytes), func.max(JobRow.pass_tokens))
        .join(JobRow, JobRow.id == AttemptRow.job_id)
        .where(AttemptRow.ended_at.is_(None), AttemptRow.host_id.in_([host.id for host in hosts]))
        .group_by(AttemptRow.host_id)
    )
    taken = {host_id: (count, int(claimed), largest) for host_id, count, claimed, largest in usage}
    views = []
    for host in hosts:
        flavor = catalogue.flavor(host.flavor)  # None: its hosts finish their jobs, get no new ones and retire
        seats, claimed, largest = taken.get(host.id, (0, 0, 0))
        views.append(
            HostView(
                id=host.id,
                key=resident_key(host),
                flavor=host.flavor,
                ready=host.state == HostState.READY,
                seats_taken=seats,
                free_bytes=flavor.memory_bytes - host.memory_bytes - claimed if flavor else 0,
                idle_since=host.idle_since if host.state == HostState.READY and not seats else None,
                max_seats=min(flavor.max_seats, host.spec["max_seats"]) if flavor else 0,
                footprint=Footprint(
                    resident_bytes=host.memory_bytes,
                    activation_bytes=host.activation_bytes,
                    recomputed_bytes=host.recomputed_bytes,
                    vocab_size=host.vocab_size,
                ),
                devices=host.devices,
                pass_tokens=largest,
                taken_bytes=claimed,
                ready_since=host.ready_at,
            )
        )
    return tuple(views)

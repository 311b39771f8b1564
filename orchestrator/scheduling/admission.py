"""Admission, serialized in the database: each action of a plan is checked against the current rows.

A plan is made from a snapshot and may be stale when it is applied; two orchestrators may even plan at once. So adding
a host or a seat takes the admission lock first, then counts again. Only admission adds; everything else frees.
"""

from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from orchestrator.catalogue.entries import Catalogue, Flavor
from orchestrator.db.host_states import HOLDS_DEVICE, LIVE
from orchestrator.db.tables import HostRow
from orchestrator.scheduling.load import host_views, waiting_jobs
from orchestrator.scheduling.queue import kept, queued

_LOCK: Final = 0x6F7263686172_64  # "orchard"; held until the transaction ends


def lock_admission(session: Session) -> None:
    """Wait for the admission lock. SQLite serializes its write transactions anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(_LOCK)))


def device_is_free(session: Session, flavor: Flavor) -> bool:
    """Whether another host may be started on the flavor."""
    held = select(func.coalesce(func.sum(HostRow.devices), 0)).where(
        HostRow.flavor == flavor.name, HostRow.state.in_(HOLDS_DEVICE)
    )
    return session.scalars(held).one() < flavor.count


def host_with_room(session: Session, catalogue: Catalogue, host_id: str, job_id: str) -> HostRow | None:
    """The host, if it is live, holds the job's base, is kept for no other, and has a seat and memory for the job.

    Its row is locked (on PostgreSQL; see above). If the host is being marked GONE concurrently, either that also ends
    this job's attempt, or this sees the host as gone.
    """
    host = session.get(HostRow, host_id, with_for_update=True, populate_existing=True)
    if host is None or host.state not in LIVE or is_kept_for_another(session, host_id, job_id):
        return None
    (job,) = waiting_jobs([queued(session, job_id)], catalogue)
    (view,) = host_views(session, [host], catalogue)
    return host if view.key == job.key and view.has_room(job) else None


def is_kept_for_another(session: Session, host_id: str, job_id: str) -> bool:
    """Whether the host takes no job before one that waits for it, and is not this one."""
    return any(job.id != job_id for job in kept(session) if job.kept_host_id == host_id)

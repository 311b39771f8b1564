"""Which job's files an encoder gets next: tenants take turns."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from orchestrator.db.encoding_tables import EncodingRow, EncodingState
from orchestrator.db.job_tables import JobRow
from orchestrator.lifecycle.encoded import WANTED

LEASE: Final = timedelta(seconds=120)
"""An encoder not heard of for so long is given up. A new one takes seconds to start."""


@dataclass(frozen=True)
class Waiting:
    """A job of which files wait for an encoder."""

    tenant_id: str
    seq: int


def next_jobs(waiting: Sequence[Waiting], running: dict[str, int], served: dict[str, datetime], free: int) -> list[int]:
    """The `seq` of the jobs whose files the `free` encoders get. Pure.

    Each goes to the tenant with the fewest encoders, then to the one served longest ago; of a tenant to its oldest job.
    """
    left: dict[str, list[int]] = {}
    for job in sorted(waiting, key=lambda job: job.seq):
        left.setdefault(job.tenant_id, []).append(job.seq)
    busy, chosen = dict(running), list[int]()
    while left and len(chosen) < free:
        tenant = min(left, key=lambda each: (busy.get(each, 0), _when(served.get(each)), left[each][0]))
        chosen.append(left[tenant].pop(0))
        busy[tenant] = busy.get(tenant, 0) + 1
        if not left[tenant]:
            del left[tenant]
    return chosen


def load_waiting(session: Session, now: datetime) -> list[Waiting]:
    """Jobs with files that may be encoded now."""
    due = or_(EncodingRow.not_before.is_(None), EncodingRow.not_before <= now)
    query = select(JobRow.tenant_id, JobRow.seq).join(EncodingRow, WANTED).distinct()
    return [Waiting(*row) for row in session.execute(query.where(EncodingRow.state == EncodingState.WAITING, due))]


def load_served(session: Session, tenants: set[str]) -> dict[str, datetime]:
    """When each tenant's files were last given to an encoder."""
    newest = select(EncodingRow.tenant_id, func.max(EncodingRow.claimed_at)).group_by(EncodingRow.tenant_id)
    return {
        tenant: claimed
        for tenant, claimed in session.execute(newest.where(EncodingRow.tenant_id.in_(tenants)))
        if claimed is not None
    }


def claim(session: Session, row: EncodingRow, encoder: int, now: datetime) -> bool:
    """Mark the encoding as given to `encoder`, under the next attempt's number. False: it no longer waits."""
    still = (
        EncodingRow.key == row.key,
        EncodingRow.state == EncodingState.WAITING,
        EncodingRow.attempt == row.attempt,
    )
    values = {
        "state": EncodingState.RUNNING,
        "encoder": encoder,
        "attempt": row.attempt + 1,
        "claimed_at": now,
        "lease_until": now + LEASE,
        "not_before": None,
        "rows_read": 0,
    }
    claimed = update(EncodingRow).where(*still).values(**values).returning(EncodingRow.key)
    return session.execute(claimed.execution_options(synchronize_session=False)).first() is not None


def _when(served: datetime | None) -> float:
    return 0.0 if served is None else served.timestamp()

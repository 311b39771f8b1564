"""Whose files an encoder gets next: tenants take turns."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from orchestrator.db.encoding_tables import EncodingRow, EncodingState, PreviewRow
from orchestrator.db.job_tables import JobRow
from orchestrator.lifecycle.encoded import SHOWN, WANTED

LEASE: Final = timedelta(seconds=120)
"""An encoder not heard of for so long is given up. A new one takes seconds to start."""


@dataclass(frozen=True)
class Waiting:
    """A job or a preview of which files wait for an encoder."""

    tenant_id: str
    seq: int
    """Of the job; 0: a preview."""
    preview: str = ""
    """Its key; empty: a job."""


def next_served(
    waiting: Sequence[Waiting], running: dict[str, int], served: dict[str, datetime], free: int
) -> list[Waiting]:
    """Whose files the `free` encoders get. Pure.

    Each goes to the tenant with the fewest encoders, then to the one served longest ago; of a tenant to a preview, for
    somebody looks at it, then to its oldest job.
    """
    left: dict[str, list[Waiting]] = {}
    for each in sorted(waiting, key=lambda each: (each.seq, each.preview)):
        left.setdefault(each.tenant_id, []).append(each)
    busy, chosen = dict(running), list[Waiting]()
    while left and len(chosen) < free:
        tenant = min(left, key=lambda tenant: (busy.get(tenant, 0), _when(served.get(tenant)), left[tenant][0].seq))
        chosen.append(left[tenant].pop(0))
        busy[tenant] = busy.get(tenant, 0) + 1
        if not left[tenant]:
            del left[tenant]
    return chosen


def load_waiting(session: Session, now: datetime) -> list[Waiting]:
    """Jobs and previews with files that may be encoded now."""
    due = or_(EncodingRow.not_before.is_(None), EncodingRow.not_before <= now)
    may_begin = (EncodingRow.state == EncodingState.WAITING, due)
    jobs = select(JobRow.tenant_id, JobRow.seq).join(EncodingRow, WANTED).distinct()
    previews = select(PreviewRow.tenant_id, PreviewRow.key).join(EncodingRow, SHOWN).distinct()
    waiting = [Waiting(*row) for row in session.execute(jobs.where(*may_begin))]
    for tenant, key in session.execute(previews.where(*may_begin, PreviewRow.until > now)):
        waiting.append(Waiting(tenant, 0, key))
    return waiting


def load_served(session: Session, tenants: set[str]) -> dict[str, datetime]:
    """When each tenant's files were last given to an encoder."""
    newest = select(EncodingRow.tenant_id, func.max(EncodingRow.claimed_at)).group_by(EncodingRow.tenant_id)
    return {
        tenant: claimed
        for tenant, claimed in session.execute(newest.where(EncodingRow.tenant_id.in_(tenants)))
        if claimed is not None
    }


def claim(session: Session, row: EncodingRow, file_id: str, encoder: int, now: datetime) -> bool:
    """Mark the encoding as given to `encoder`, under the next attempt's number: it reads the content from the file of
    whoever asks. False: it no longer waits.
    """
    still = (
        EncodingRow.key == row.key,
        EncodingRow.state == EncodingState.WAITING,
        EncodingRow.attempt == row.attempt,
    )
    values = {
        "state": EncodingState.RUNNING,
        "encoder": encoder,
        "file_id": file_id,
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

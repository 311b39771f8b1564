"""Hosts, as an admin sees them."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field
from sqlalchemy import select

from orchestrator.db.database import Database
from orchestrator.db.job_tables import AttemptRow
from orchestrator.db.tables import HostRow

ENDED_SHOWN = 20


class HostView(BaseModel):
    """One host and the jobs that have a seat on it."""

    id: str
    object: Literal["host"] = "host"
    base: str
    quantization: str
    compute_dtype: str
    task: str
    lane: str = Field(description="how it trains: fused for many jobs at once, solo for one")
    devices: int
    flavor: str
    state: str
    memory_bytes: int = Field(description="process and base; an estimate until the host measures it")
    activation_bytes: int = Field(description="of a training pass, per position; likewise")
    budget_tokens: int | None = Field(description="maximum positions per pass, at the last poll")
    base_digest: str | None
    base_intact: bool | None = Field(description="result of the check on retiring; null: there was none")
    base_loads: int = Field(description="times its process loaded the base; 1 for a healthy host")
    load_seconds: float | None
    resident_bytes: int | None = Field(description="memory of its process, at the last poll")
    pid: int | None
    error: str | None
    error_code: str | None = Field(
        description="why it ended, if it said so itself; base_unusable: its base is at fault"
    )
    jobs: list[str]
    created_at: int = Field(description="Unix seconds")
    ready_at: int | None
    last_seen_at: int | None
    ended_at: int | None


def list_hosts(db: Database) -> list[HostView]:
    """Every live host, then the most recently ended ones."""
    living = select(HostRow).where(HostRow.ended_at.is_(None)).order_by(HostRow.created_at.desc())
    ended = select(HostRow).where(HostRow.ended_at.is_not(None)).order_by(HostRow.ended_at.desc()).limit(ENDED_SHOWN)
    seats = select(AttemptRow.host_id, AttemptRow.job_id).where(AttemptRow.ended_at.is_(None))
    with db.read() as session:
        rows = [*session.scalars(living), *session.scalars(ended)]
        seated = session.execute(seats.order_by(AttemptRow.started_at)).all()
    return [_view(row, [job for host, job in seated if host == row.id]) for row in rows]


def _view(row: HostRow, jobs: list[str]) -> HostView:
    return HostView(
        id=row.id,
        base=row.base_id,
        quantization=row.quantization,
        compute_dtype=row.compute_dtype,
        task=row.task,
        lane=row.lane,
        devices=row.devices,
        flavor=row.flavor,
        state=row.state,
        memory_bytes=row.memory_bytes,
        activation_bytes=row.activation_bytes,
        budget_tokens=row.budget_tokens,
        base_digest=row.base_digest,
        base_intact=row.base_intact,
        base_loads=row.base_loads,
        load_seconds=row.load_seconds,
        resident_bytes=row.resident_bytes,
        pid=row.pid,
        error=row.error,
        error_code=row.error_code,
        jobs=jobs,
        created_at=int(row.created_at.timestamp()),
        ready_at=_seconds(row.ready_at),
        last_seen_at=_seconds(row.last_seen_at),
        ended_at=_seconds(row.ended_at),
    )


def _seconds(stamp: datetime | None) -> int | None:
    return None if stamp is None else int(stamp.timestamp())

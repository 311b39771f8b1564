"""A great many rows, by copying one inside the database."""

from typing import Any, Final

from sqlalchemy import CTE, String, Table, cast, insert, literal, select

from orchestrator.db.database import Database
from orchestrator.db.job_tables import AttemptRow, JobRow
from orchestrator.db.states import JobState
from tests.bench.control.databases import autovacuum
from tests.builders.rows import NOW, make_host, make_job, make_tenant

CHUNK: Final = 50_000


def fill(db: Database, queued: int, finished: int, tenants: int = 1) -> None:
    """So many more queued jobs of so many tenants, and finished ones of the last, which each had an attempt."""
    for _ in range(tenants):
        tenant = make_tenant(db)
        _copy(db, make_job(db, JobState.QUEUED, tenant).seq, queued // tenants, "id")
    done = make_job(db, JobState.SUCCEEDED, tenant, attempt=1)
    _copy(db, done.seq, finished, "id", "fine_tuned_model")
    _give_attempts(db, tenant.id, make_host(db, state="gone", ended_at=NOW).id)
    autovacuum(db)


def _copy(db: Database, seq: int, count: int, *unique: str) -> None:
    """`count` copies of one job, its `unique` columns made so by a number."""
    job: Table = JobRow.__table__  # type: ignore[assignment]
    for first in range(1, count + 1, CHUNK):
        numbers = _numbers(first, min(first + CHUNK - 1, count))
        suffix = literal("-") + cast(numbers.c.n, String)
        columns = {column.name: column for column in job.columns if column is not job.c.seq}
        values: list[Any] = [column + suffix if name in unique else column for name, column in columns.items()]
        copies = select(*values).select_from(job.join(numbers, literal(True))).where(job.c.seq == seq)
        with db.write() as session:
            session.execute(insert(job).from_select(list(columns), copies, include_defaults=False))


def _numbers(first: int, last: int) -> CTE:
    start = select(literal(first).label("n")).cte("numbers", recursive=True)
    return start.union_all(select(start.c.n + 1).where(start.c.n < last))


def _give_attempts(db: Database, tenant_id: str, host_id: str) -> None:
    """One attempt, over and collected, to each finished job of the tenant."""
    attempt: Table = AttemptRow.__table__  # type: ignore[assignment]
    values = {
        "job_id": JobRow.id,
        "number": literal(1),
        "tenant_id": JobRow.tenant_id,
        "host_id": literal(host_id),
        "lease_token": literal("lease") + cast(JobRow.seq, String),
        "lease_until": JobRow.created_at,
        "memory_bytes": JobRow.memory_bytes,
        "resumed_from_step": literal(0),
        "last_step": literal(0),
        "started_at": JobRow.created_at,
        "ended_at": JobRow.finished_at,
        "exit_class": literal("ok"),
        "collected_at": JobRow.finished_at,
    }
    ended = select(*values.values()).where(JobRow.tenant_id == tenant_id, JobRow.state == JobState.SUCCEEDED)
    with db.write() as session:
        session.execute(insert(attempt).from_select(list(values), ended, include_defaults=False))

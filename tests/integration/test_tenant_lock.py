"""The tenant's lock on PostgreSQL. SQLite has one writer, and no lock of rows."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from orchestrator.db.database import Database
from orchestrator.lifecycle.events import EventDraft, record
from orchestrator.tenancy.lock import lock_tenant
from tests.builders.rows import NOW, make_job, make_tenant

HASTY = text("SET LOCAL lock_timeout = '200ms'")


def test_events_of_a_tenant_are_written_while_a_decision_over_its_rows_is_made(db: Database) -> None:
    if db.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer")
    tenant = make_tenant(db)
    job = make_job(db, tenant=tenant)
    with db.write() as deciding:
        lock_tenant(deciding, tenant.id)
        with db.write() as other:  # it holds the job's row, which the first may want next
            other.execute(HASTY)
            record(other, tenant.id, job.id, EventDraft("cancelled"), NOW)


def test_of_two_decisions_over_the_rows_of_a_tenant_one_waits(db: Database) -> None:
    if db.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer")
    tenant = make_tenant(db)
    with db.write() as deciding:
        lock_tenant(deciding, tenant.id)
        with db.read() as other:
            other.execute(text("BEGIN"))
            other.execute(HASTY)
            with pytest.raises(OperationalError, match="lock timeout"):
                lock_tenant(other, tenant.id)

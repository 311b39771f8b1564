"""A statement that takes too long ends as what it is: too much asked, and no database that is away."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from api.app import create_app
from orchestrator.db.database import Database
from orchestrator.db.states import JobState
from orchestrator.errors import TooSlow
from orchestrator.outages import outage
from tests.builders.live_api import Api
from tests.builders.rows import make_job
from tests.builders.stock_client import tenant_row

SLOW = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
    "postgresql": "SELECT pg_sleep(3600)",
}
"""Statements that would never end."""


@pytest.fixture
def hasty(database_url: str) -> Iterator[Database]:
    database = Database(database_url, statement_timeout_s=0.1)
    yield database
    database.dispose()


@pytest.mark.parametrize("transaction", ["read", "write"])
def test_a_statement_that_takes_too_long_is_cancelled_and_named_so(hasty: Database, transaction: str) -> None:
    begin = getattr(hasty, transaction)
    with pytest.raises(DBAPIError) as caught, begin() as session:
        session.execute(text(SLOW[hasty.engine.dialect.name]))
    assert isinstance(outage(caught.value), TooSlow)

    with begin() as session:  # and its connection is as good as before
        assert session.scalar(text("SELECT 1")) == 1


@contextmanager
def slow_lists(api: Api) -> Iterator[None]:
    """While this lasts, a list of jobs takes too long: a lock is in its way, or it has much to compute."""
    if api.services.db.engine.dialect.name == "postgresql":
        with api.services.db.engine.begin() as other:
            other.execute(text("LOCK TABLE job IN ACCESS EXCLUSIVE MODE"))
            yield
        return
    for _ in range(60):
        make_job(api.services.db, JobState.CANCELLED, tenant_row(api), labels={f"k{n}": "v" for n in range(16)})
    yield


def test_a_list_that_takes_too_long_is_refused_without_blaming_the_database(api: Api, database_url: str) -> None:
    timeout_s = 0.5 if database_url.startswith("postgresql") else 1e-9  # SQLite: at its first look at the time
    services = replace(api.services, db=Database(database_url, timeout_s))
    with slow_lists(api), TestClient(create_app(services), headers=api.headers) as web:
        answer = web.get("/v1/fine_tuning/jobs", params={"limit": 1_000} | {f"metadata[k{n}]": "v" for n in range(16)})
    services.db.dispose()

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "request_too_slow")
    assert "smaller page" in answer.json()["error"]["message"]
    assert answer.headers["x-should-retry"] == "false"  # the stock client would ask for as much again

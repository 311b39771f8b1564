"""Rows that are over, and those that wait behind others, cost nothing: asked of the databases' plans."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from orchestrator.db.database import Database
from orchestrator.db.states import JobState
from orchestrator.lifecycle.turns import HEADS
from orchestrator.scheduling.queue import LEAST_HEADS, PASS_HEADS, heads
from orchestrator.submission.request import JobRequest
from orchestrator.submission.submit import SubmitDeps, submit
from orchestrator.tenancy.views import Tenant
from tests.bench.control.rows import fill
from tests.builders.live_api import make_catalogue
from tests.builders.rows import NOW, make_file, make_job, make_tenant
from tests.builders.world import World


def test_each_line_shows_its_head_by_priority_then_age(db: Database) -> None:
    tenant = make_tenant(db)
    early, late = (make_job(db, JobState.QUEUED, tenant, priority=1).id for _ in range(2))
    urgent = make_job(db, JobState.QUEUED, tenant, priority=9).id
    other = make_job(db, JobState.QUEUED, tenant, base_id="another").id
    make_job(db, JobState.QUEUED, tenant, not_before=NOW + timedelta(seconds=1))
    make_job(db, JobState.QUEUED, tenant, desired="pause")
    make_job(db, JobState.SUCCEEDED, tenant)
    with db.read() as session:
        assert [job.id for job in heads(session, NOW)] == [other, urgent, early, late]


def test_a_line_of_any_length_shows_no_more_than_its_head(db: Database) -> None:
    fill(db, queued=HEADS + 5, finished=5)
    make_job(db, JobState.QUEUED, priority=3)
    with db.read() as session:
        found = heads(session, NOW)
    assert len(found) == HEADS + 1
    assert sorted({job.priority for job in found}) == [0, 3]
    crowd = [job.seq for job in found if job.priority == 0]
    assert crowd == sorted(crowd)


def test_a_tenant_with_very_many_jobs_hides_nobody(db: Database) -> None:
    fill(db, queued=HEADS + 5, finished=5)
    others = {make_job(db, JobState.QUEUED, priority=-5).id for _ in range(3)}
    with db.read() as session:
        assert others <= {job.id for job in heads(session, NOW)}


def test_the_oldest_of_every_priority_is_seen_behind_however_many_of_a_higher_one(db: Database) -> None:
    tenant = make_tenant(db)
    low = make_job(db, JobState.QUEUED, tenant, priority=-1).id
    make_job(db, JobState.QUEUED, tenant, priority=-1)
    for _ in range(HEADS):
        make_job(db, JobState.QUEUED, tenant)
    with db.read() as session:
        found = [job.id for job in heads(session, NOW)]
    assert len(found) == HEADS + 1
    assert found[-1] == low


def test_very_many_lines_have_shorter_heads(sqlite_db: Database) -> None:
    lines = PASS_HEADS // LEAST_HEADS + 1
    tenant = make_tenant(sqlite_db)
    for line in range(lines):
        make_job(sqlite_db, JobState.QUEUED, tenant, base_id=f"base-{line}")
    for _ in range(HEADS):
        make_job(sqlite_db, JobState.QUEUED, tenant)
    with sqlite_db.read() as session:
        found = heads(session, NOW)
    assert len(found) == lines + LEAST_HEADS


@pytest.mark.parametrize("column", ["base_id", "quantization", "compute_dtype", "task", "lane", "priority"])
def test_no_line_is_overlooked_whatever_it_differs_in(db: Database, column: str) -> None:
    tenant = make_tenant(db)
    ids = {
        make_job(db, JobState.QUEUED, tenant, **{column: value}).id
        for value in ((1, 2, 3) if column == "priority" else ("a", "b", "c"))
    }
    with db.read() as session:
        assert {job.id for job in heads(session, NOW)} == ids


def test_no_statement_of_a_pass_reads_a_whole_table_of_jobs_or_attempts(sqlite_db: Database, tmp_path: Path) -> None:
    world = World(sqlite_db, tmp_path)
    make_job(sqlite_db, JobState.QUEUED, make_tenant(sqlite_db))
    world.tick(3)
    fill(sqlite_db, queued=300, finished=600)
    asked: dict[str, Any] = {}
    event.listen(
        sqlite_db.engine,
        "before_cursor_execute",
        lambda _c, _cur, statement, given, *_: asked.update({statement: given}),
    )
    for step in world.steps:
        world.now += timedelta(seconds=1)
        step.run_once(world.now)
    with sqlite_db.engine.connect() as connection:
        plans = {
            statement: [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given)]
            for statement, given in list(asked.items())
            if statement.lstrip().startswith(("SELECT", "UPDATE"))
        }
    assert len(plans) > 10
    whole = re.compile(
        r"SCAN (job|attempt|event|checkpoint)( USING (COVERING )?INDEX (ix_job_live|ix_attempt_tenant)\w*)?$"
        r"|USING INDEX ix_job_turn \(state=\? AND base_id>\?\)$"  # then it reads the line, not its head
        r"|USING INDEX ix_job_live_desired \(desired=\? AND state=\?\)$"  # desired=run: all that wait
    )
    assert {statement: steps for statement, steps in plans.items() if any(whole.match(step) for step in steps)} == {}


def test_a_submission_reads_nothing_of_what_its_tenant_had_before(db: Database) -> None:
    tenant = make_tenant(db)
    file = make_file(db, tenant)
    fill(db, queued=300, finished=600)
    submit_deps = SubmitDeps(db, make_catalogue(), "file:///nowhere", max_live_jobs=100)
    asked: dict[str, Any] = {}
    event.listen(
        db.engine, "before_cursor_execute", lambda _c, _cur, statement, given, *_: asked.update({statement: given})
    )
    submit(submit_deps, Tenant.of(tenant), JobRequest(model="tiny", training_file=file.id), None, NOW)
    ((statement, given),) = ((text, given) for text, given in asked.items() if "FROM job" in text)
    explain = "EXPLAIN QUERY PLAN" if db.engine.dialect.name == "sqlite" else "EXPLAIN"
    with db.engine.connect() as connection:
        plan = "\n".join(row[-1] for row in connection.exec_driver_sql(f"{explain} {statement}", given))
    found = set(re.findall(r"ix_job\w+|SCAN job|Seq Scan on job", plan))
    assert found == {"ix_job_tenant_id_post_sha256_created_at", "ix_job_live_tenant"}

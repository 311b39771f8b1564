"""Rows written past the unit of work are the rows it would have written."""

import pytest
from sqlalchemy import select

from orchestrator.db.database import Database
from orchestrator.db.insert import insert_row, new_row
from orchestrator.db.job_tables import EventRow, JobRow
from orchestrator.lifecycle.events import EventDraft, event_row
from tests.builders.rows import NOW, make_job


def columns(row: object, *but: str) -> dict[str, object]:
    return {name: getattr(row, name) for name in row.__mapper__.columns.keys() if name not in {"seq", *but}}  # noqa: SIM118


def test_a_row_comes_back_as_it_was_made_defaults_and_renamed_columns_included(db: Database) -> None:
    asked = columns(make_job(db, labels={"team": "blue"}), "id")
    defaults = ("attempt", "infra_failures", "stopped_early", "max_infra_retries", "step")
    given = {name: value for name, value in asked.items() if name not in defaults}
    row = new_row(JobRow, **given, id="ftjob-copy")
    with db.begin() as connection:
        insert_row(connection, row)
        insert_row(connection, event_row(row.tenant_id, row.id, EventDraft("made", data={"n": 1}), NOW))
    with db.read() as session:
        job = session.scalars(select(JobRow).where(JobRow.id == "ftjob-copy")).one()
        event = session.scalars(select(EventRow).where(EventRow.job_id == "ftjob-copy")).one()
    assert columns(job, "id") == asked
    assert job.seq > 1
    assert (event.message, event.data, event.created_at) == ("made", {"n": 1}, NOW)


def test_nothing_is_written_when_the_transaction_is_given_up(db: Database) -> None:
    given = columns(make_job(db), "id")
    try:
        with db.begin() as connection:
            insert_row(connection, new_row(JobRow, **given, id="ftjob-lost"))
            raise KeyError
    except KeyError:
        pass
    with db.read() as session:
        assert session.scalars(select(JobRow).where(JobRow.id == "ftjob-lost")).all() == []


def test_a_name_that_is_no_column_is_refused() -> None:
    with pytest.raises(TypeError, match="JobRow has no column metadata, sedd"):
        new_row(JobRow, sedd=1, metadata={})


def test_what_nobody_gave_is_none_or_its_default_at_once() -> None:
    row = new_row(JobRow, id="ftjob-new")
    assert (row.id, row.finished_at, row.labels, row.infra_failures, row.max_infra_retries) == (
        *("ftjob-new", None, None),
        *(0, 10),
    )

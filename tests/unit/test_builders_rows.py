"""The row builders satisfy the schema's checks on both databases."""

import pytest
from sqlalchemy import select

from orchestrator.db.database import Database
from orchestrator.db.job_tables import AttemptRow, EventRow, JobRow
from orchestrator.db.states import SEATED, TERMINAL, JobState
from tests.builders.rows import make_checkpoint, make_job


@pytest.mark.parametrize("state", list(JobState))
def test_a_job_can_be_built_in_every_state(db: Database, state: JobState) -> None:
    job = make_job(db, state)

    with db.read() as session:
        stored = session.scalars(select(JobRow)).one()
        attempts = session.scalars(select(AttemptRow)).all()
        events = session.scalars(select(EventRow.message)).all()
    assert (stored.id, stored.state) == (job.id, state)
    assert [a.lease_token for a in attempts] == ([job.lease_token] if state in SEATED else [])
    ends = ["The end"] if state in TERMINAL else []
    assert events == [f"Created fine-tuning job: {job.id}", *ends]


def test_a_checkpoint_belongs_to_its_job(db: Database) -> None:
    job = make_job(db, JobState.RUNNING)
    assert make_checkpoint(db, job, step=3).job_id == job.id

"""The state machine: its table, its projection to OpenAI, and its one door."""

from datetime import timedelta
from itertools import product

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from orchestrator.db.database import Database
from orchestrator.db.job_tables import EventRow, JobRow
from orchestrator.jobs.events import EventDraft
from orchestrator.jobs.states import DEADLINE_S, OPENAI_STATUS, SEATED, TERMINAL, TRANSITIONS, JobState
from orchestrator.jobs.transition import IllegalTransition, JobRef, amend, transition
from tests.builders.rows import NOW, make_job

EVENT = EventDraft("moved")
REQUIRED = {
    JobState.FAILED: {"error_code": "internal_error"},
    JobState.SUCCEEDED: {"fine_tuned_model": "ft:tiny:acme::abcdefgh"},
    JobState.ADMITTED: {"attempt": 2, "lease_token": "token-2"},
}


def test_every_state_has_a_row_in_every_table():
    assert set(TRANSITIONS) == set(OPENAI_STATUS) == set(JobState)
    assert set(DEADLINE_S) <= set(JobState) - TERMINAL


def test_terminal_states_absorb_and_every_other_state_can_end():
    assert all(not TRANSITIONS[state] for state in TERMINAL)
    for state in set(JobState) - TERMINAL:
        reachable, frontier = set(), {state}
        while frontier:
            reachable |= frontier
            frontier = set().union(*(TRANSITIONS[s] for s in frontier)) - reachable
        assert reachable & TERMINAL


@pytest.mark.parametrize(("start", "to"), list(product(JobState, JobState)))
def test_the_door_opens_for_the_moves_of_the_table_and_no_other(sqlite_db: Database, start: JobState, to: JobState):
    job = JobRef.of(make_job(sqlite_db, start))
    legal = to in TRANSITIONS[start]
    with sqlite_db.write() as session:
        if not legal:
            with pytest.raises(IllegalTransition):
                transition(session, job, to, EVENT, now=NOW)
            return
        moved = transition(session, job, to, EVENT, now=NOW, **REQUIRED.get(to, {}))
    with sqlite_db.read() as session:
        row = session.scalars(select(JobRow).where(JobRow.id == job.id)).one()
        messages = session.scalars(select(EventRow.message).where(EventRow.job_id == job.id)).all()
    assert moved is not None
    assert JobRef.of(row) == moved
    assert (row.finished_at is not None) == (to in TERMINAL)
    assert (row.lease_token is not None) == (to in SEATED)
    assert messages[-1] == "moved"


def test_a_stale_reference_moves_nothing_and_leaves_no_event(db: Database):
    job = JobRef.of(make_job(db, JobState.RUNNING))
    with db.write() as session:
        transition(session, job, JobState.STOPPING, EventDraft("first"), now=NOW)
    with db.write() as session:
        second = transition(session, job, JobState.BACKOFF, EventDraft("second"), now=NOW)
    with db.read() as session:
        messages = session.scalars(select(EventRow.message).where(EventRow.job_id == job.id)).all()
    assert second is None
    assert "first" in messages
    assert "second" not in messages


def test_a_worker_with_an_old_lease_token_writes_nothing(db: Database):
    row = make_job(db, JobState.RUNNING)
    stale = JobRef(row.id, row.tenant_id, JobState.RUNNING, row.attempt, "somebody-else")
    with db.write() as session:
        assert not amend(session, stale, step=99)


def test_amend_refuses_to_write_the_state(db: Database):
    job = JobRef.of(make_job(db))
    with db.write() as session, pytest.raises(IllegalTransition):
        amend(session, job, state=JobState.FAILED)


def test_the_deadline_of_a_state_is_set_on_entering_it(db: Database):
    job = JobRef.of(make_job(db, JobState.RUNNING))
    with db.write() as session:
        transition(session, job, JobState.STOPPING, EVENT, now=NOW)
    with db.read() as session:
        row = session.scalars(select(JobRow).where(JobRow.id == job.id)).one()
    assert row.state_deadline == NOW + timedelta(seconds=DEADLINE_S[JobState.STOPPING])


@pytest.mark.parametrize(
    "broken",
    [
        {"state": JobState.SUCCEEDED, "finished_at": None},
        {"state": JobState.QUEUED, "lease_token": "held"},
        {"state": JobState.FAILED, "finished_at": NOW, "error_code": None},
    ],
)
def test_the_schema_refuses_rows_that_contradict_their_state(db: Database, broken: dict):
    row = make_job(db)
    with db.read() as session, pytest.raises(IntegrityError):
        session.execute(update(JobRow).where(JobRow.id == row.id).values(**broken))

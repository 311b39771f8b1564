"""The state machine: its table, its projection to OpenAI, and its one door."""

from datetime import timedelta
from itertools import product

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from orchestrator.db.database import Database
from orchestrator.db.job_tables import EventRow, JobRow
from orchestrator.db.states import (
    DEADLINE_S,
    SEATED,
    TERMINAL,
    TRANSITIONS,
    Desired,
    JobState,
    StopReason,
    openai_status,
)
from orchestrator.lifecycle.events import EventDraft, record
from orchestrator.lifecycle.transition import IllegalTransition, JobRef, amend, transition
from tests.builders.rows import NOW, make_host, make_job, make_tenant

EVENT = EventDraft("moved")
REQUIRED = {
    JobState.FAILED: {"error_code": "internal_error"},
    JobState.SUCCEEDED: {"fine_tuned_model": "ft:tiny:acme::abcdefgh"},
    JobState.ADMITTED: {"attempt": 2, "lease_token": "token-2"},
    JobState.STOPPING: {"stop_reason": StopReason.CANCEL},
    JobState.BACKOFF: {"not_before": NOW},
}


def test_every_state_has_its_moves_and_every_live_one_a_deadline():
    assert set(TRANSITIONS) == set(JobState)
    assert set(DEADLINE_S) == set(JobState) - TERMINAL


@pytest.mark.parametrize("state", JobState)
def test_the_status_of_a_job_is_one_that_clients_know(state: JobState):
    known = {"validating_files", "queued", "running", "pausing", "paused", "succeeded", "failed", "cancelled"}
    assert {openai_status(state, desired) for desired in Desired} <= known


def test_a_job_is_pausing_from_the_wish_until_its_seat_is_free():
    assert openai_status(JobState.RUNNING, Desired.PAUSE) == "pausing"
    assert openai_status(JobState.STOPPING, Desired.PAUSE) == "pausing"
    assert openai_status(JobState.PAUSED, Desired.PAUSE) == "paused"
    assert openai_status(JobState.PUBLISHING, Desired.PAUSE) == "running"


def test_terminal_states_absorb_and_every_other_state_can_end():
    assert all(not TRANSITIONS[state] for state in TERMINAL)
    for state in set(JobState) - TERMINAL:
        reachable, frontier = set(), {state}
        while frontier:
            reachable |= frontier
            frontier = set().union(*(TRANSITIONS[s] for s in frontier)) - reachable
        assert reachable & TERMINAL


def test_the_door_opens_for_the_moves_of_the_table_and_no_other(db: Database):
    tenant, host = make_tenant(db), make_host(db)
    for start, to in product(JobState, JobState):
        job = JobRef.of(make_job(db, start, tenant, host=host))
        required = REQUIRED.get(to, {}) | ({"fine_tuned_model": job.id} if to is JobState.SUCCEEDED else {})
        required |= {"lease_token": job.id} if to is JobState.ADMITTED else {}
        if to in TRANSITIONS[start]:
            with db.write() as session:
                moved = transition(session, job, to, EVENT, now=NOW, **required)
            _assert_moved(db, job, moved, to)
        else:
            with db.write() as session, pytest.raises(IllegalTransition):
                transition(session, job, to, EVENT, now=NOW, **required)
            assert (_row(db, job).state, _events(db, job)[-1].message == "moved") == (start, False)


def _assert_moved(db: Database, job: JobRef, moved: JobRef | None, to: JobState) -> None:
    row, event = _row(db, job), _events(db, job)[-1]
    assert moved == JobRef.of(row)
    assert (event.message, event.moved_to) == ("moved", to)
    assert (row.finished_at is not None) == (row.state_deadline is None) == (to in TERMINAL)
    assert (row.lease_token is not None) == (to in SEATED)
    assert (row.stop_reason is not None) == (to is JobState.STOPPING)


def _row(db: Database, job: JobRef) -> JobRow:
    with db.read() as session:
        return session.scalars(select(JobRow).where(JobRow.id == job.id)).one()


def _events(db: Database, job: JobRef) -> list[EventRow]:
    with db.read() as session:
        return list(session.scalars(select(EventRow).where(EventRow.job_id == job.id).order_by(EventRow.seq)))


def test_a_stale_reference_moves_nothing_and_leaves_no_event(db: Database):
    job = JobRef.of(make_job(db, JobState.RUNNING))
    with db.write() as session:
        transition(session, job, JobState.STOPPING, EventDraft("first"), now=NOW, stop_reason="cancel")
    with db.write() as session:
        second = transition(session, job, JobState.BACKOFF, EventDraft("second"), now=NOW, not_before=NOW)
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
        transition(session, job, JobState.STOPPING, EVENT, now=NOW, stop_reason=StopReason.PAUSE)
    with db.read() as session:
        row = session.scalars(select(JobRow).where(JobRow.id == job.id)).one()
    assert row.state_deadline == NOW + timedelta(seconds=DEADLINE_S[JobState.STOPPING])


@pytest.mark.parametrize(
    "broken",
    [
        {"state": JobState.SUCCEEDED, "finished_at": None},
        {"state": JobState.QUEUED, "lease_token": "held"},
        {"state": JobState.FAILED, "finished_at": NOW, "error_code": None},
        {"state_deadline": None},
        {"state": JobState.BACKOFF, "not_before": None},
        {"state": JobState.CANCELLED, "finished_at": NOW, "state_deadline": None, "registering_at": NOW},
        {"stop_reason": StopReason.PAUSE},
    ],
)
def test_the_schema_refuses_rows_that_contradict_their_state(db: Database, broken: dict):
    row = make_job(db)
    with db.read() as session, pytest.raises(IntegrityError):
        session.execute(update(JobRow).where(JobRow.id == row.id).values(**broken))


def test_a_job_ends_once_for_the_database_too(db: Database):
    job = make_job(db, JobState.SUCCEEDED)
    with db.read() as session:
        record(session, job.tenant_id, job.id, EVENT, NOW, moved_to=JobState.CANCELLED)
        with pytest.raises(IntegrityError):
            session.flush()

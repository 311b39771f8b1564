"""`why`: for every state a constraint in words, its place in the queue, and nothing about anybody else."""

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from orchestrator.db.database import Database
from orchestrator.db.job_tables import AttemptRow
from orchestrator.db.states import TERMINAL, Desired, JobState, StopReason
from orchestrator.lifecycle.events import EventDraft, record
from orchestrator.lifecycle.turns import HEADS
from orchestrator.queries.blockers import Constraint, JobFacts
from orchestrator.queries.why import WhyView, explain, load_facts, why
from tests.builders.live_api import Api, add_tenant
from tests.builders.rows import NOW, make_encoding, make_host, make_job, make_tenant

LATER = NOW + timedelta(minutes=5)
NOTHING = Constraint.NOTHING


def load_facts_of(db: Database, job: Any) -> JobFacts:
    with db.read() as session:
        return load_facts(session, job, NOW)


def ask(db: Database, job: Any) -> WhyView:
    return why(db, job.tenant_id, job.id, NOW)


def waits(constraint: str, **columns: Any) -> dict[str, Any]:
    """What the planner writes on a job that it cannot place."""
    return {"queue_reason": "All busy.", "queue_constraint": constraint, **columns}


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("desired", Desired)
def test_every_state_has_an_answer(sqlite_db: Database, state: JobState, desired: Desired) -> None:
    answer = ask(sqlite_db, make_job(sqlite_db, state, desired=desired))

    assert answer.reason.endswith(".") or state is JobState.SUCCEEDED
    assert answer.since == int(NOW.timestamp())
    assert answer.blocked == (answer.constraint is not NOTHING)
    assert not (answer.blocked and state in TERMINAL)
    assert (answer.position is None) == (answer.queue_length is None)


@pytest.mark.parametrize(
    ("state", "columns", "constraint", "words", "unblocks"),
    [
        (JobState.VALIDATING, {}, Constraint.VALIDATION, "files are being read", None),
        (JobState.QUEUED, {}, Constraint.TURN, "planner has not reached it", "next pass"),
        (JobState.QUEUED, waits("device"), Constraint.DEVICE, "All busy.", "free device for a host"),
        (JobState.QUEUED, waits("seat"), Constraint.SEAT, "All busy.", "A seat on a host that holds tiny"),
        (JobState.QUEUED, waits("drain"), Constraint.DRAIN, "All busy.", "has waited there for longest"),
        (JobState.QUEUED, waits("placement"), Constraint.PLACEMENT, "All busy.", "Cancel it"),
        (JobState.QUEUED, waits("seat", kept_host_id="h"), Constraint.SEAT, "All busy.", "None is placed there before"),
        (JobState.QUEUED, {"desired": "pause"}, NOTHING, "paused at the next pass", None),
        (JobState.STARTING, {}, NOTHING, "has taken it in and fetches its rows", None),
        (JobState.RUNNING, {"step": 2}, NOTHING, "step 2 of 6", None),
        (JobState.RUNNING, {"desired": "pause"}, Constraint.HOST, "being paused", "finishes the current step"),
        (JobState.STOPPING, {"stop_reason": StopReason.STUCK}, Constraint.HOST, "made no progress", "host is stopped"),
        (JobState.BACKOFF, {"not_before": LATER}, Constraint.RETRY, "last attempt was interrupted", "03:09:05 UTC"),
        (JobState.PAUSED, {"desired": "pause", "step": 4}, Constraint.OWNER, "at step 4", "orchard resume ftjob-"),
        (JobState.RUNNING, {"desired": "suspend"}, Constraint.HOST, "being suspended", "finishes the current step"),
        (
            JobState.STOPPING,
            {"desired": "suspend", "stop_reason": StopReason.SUSPEND},
            Constraint.HOST,
            "operator suspended",
            "host is stopped",
        ),
        (JobState.PAUSED, {"desired": "suspend", "step": 4}, Constraint.OPERATOR, "operator suspended", "by itself"),
        (JobState.PAUSED, {}, NOTHING, "joins the queue", None),
        (JobState.PUBLISHING, {}, NOTHING, "being verified and registered", None),
        (JobState.PUBLISHING, {"not_before": LATER}, Constraint.REGISTRY, "could not be registered", "03:09:05 UTC"),
        (JobState.SUCCEEDED, {}, NOTHING, "its model is ft:tiny", None),
        (JobState.CANCELLED, {}, NOTHING, "was cancelled", None),
        (JobState.FAILED, {}, NOTHING, "Something went wrong on the worker.", None),
    ],
)  # fmt: skip
def test_the_constraint_in_words(
    sqlite_db: Database,
    state: JobState,
    columns: dict[str, Any],
    constraint: Constraint,
    words: str,
    unblocks: str | None,
) -> None:
    answer = ask(sqlite_db, make_job(sqlite_db, state, **columns))

    assert answer.constraint is constraint
    assert words in answer.reason
    assert answer.unblocks is None if unblocks is None else unblocks in (answer.unblocks or "")
    assert answer.next_try_at == (int(LATER.timestamp()) if "not_before" in columns else None)


@pytest.mark.parametrize(("desired", "then"), [("pause", "Resume it"), ("suspend", "The operator ends the suspension")])
def test_of_a_resting_job_whose_base_is_unusable_it_is_said_that_going_on_now_would_end_it(
    sqlite_db: Database, desired: str, then: str
) -> None:
    facts = JobFacts(make_job(sqlite_db, JobState.PAUSED, desired=desired), base_is_marked=True)

    answer = explain(facts, NOW)

    assert "A host found tiny unusable; a job that waits for it ends as failed." in answer.reason
    assert (answer.unblocks or "").startswith(f"The operator repairs tiny. After that: {then}")


def test_the_position_is_by_turns_of_the_tenants_and_not_by_their_priorities(db: Database) -> None:
    crowd, other = make_tenant(db), make_tenant(db)
    jobs = [make_job(db, tenant=crowd, priority=100) for _ in range(3)]
    mine = make_job(db, tenant=other)
    for left_out in ({"desired": "pause"}, {"not_before": LATER}):
        make_job(db, **({"priority": 9} | left_out))

    assert [ask(db, job).position for job in (jobs[0], mine, jobs[1], jobs[2])] == [1, 2, 3, 4]
    assert ask(db, mine).queue_length == 4


def test_who_holds_fewer_seats_has_the_turn_and_who_was_served_longest_ago_wins_ties(db: Database) -> None:
    busy, served, new = (make_tenant(db) for _ in range(3))
    make_job(db, JobState.RUNNING, busy)
    _, its = make_job(db, JobState.SUCCEEDED, served), make_job(db, tenant=served)
    older, mine = make_job(db, tenant=busy), make_job(db, tenant=new)
    host = make_host(db)
    with db.write() as session:
        session.add(ended_attempt(its, host))
    assert [ask(db, job).position for job in (mine, its, older)] == [1, 2, 3]


def ended_attempt(job: Any, host: Any) -> AttemptRow:
    """An earlier try, whose seat is free again."""
    return AttemptRow(
        job_id=job.id,
        number=1,
        tenant_id=job.tenant_id,
        host_id=host.id,
        lease_token="lease-of-an-earlier-try",
        lease_until=NOW,
        memory_bytes=1,
        started_at=NOW - timedelta(hours=1),
        ended_at=NOW,
        exit_class="preempted",
    )


def test_of_its_own_tenants_jobs_for_the_same_base_the_ones_ahead_are_named(db: Database) -> None:
    tenant = make_tenant(db)
    make_job(db, tenant=tenant)
    make_job(db, tenant=tenant, base_id="org/tiny-2")
    make_job(db)
    mine = make_job(db, tenant=tenant)
    assert load_facts_of(db, mine).in_line == 1
    assert "1 of your jobs for tiny are ahead of it in the queue" in ask(db, mine).reason


def test_a_reason_from_when_it_was_further_ahead_is_not_repeated(sqlite_db: Database) -> None:
    tenant = make_tenant(sqlite_db)
    mine = make_job(sqlite_db, tenant=tenant, **waits("drain"))
    assert ask(sqlite_db, mine).constraint is Constraint.DRAIN
    for _ in range(HEADS):
        make_job(sqlite_db, tenant=tenant, priority=1)
    assert ask(sqlite_db, mine).constraint is Constraint.TURN


@pytest.mark.parametrize(("host", "constraint"), [("starting", Constraint.HOST), ("ready", NOTHING)])
def test_an_admitted_job_waits_for_a_host_that_is_loading(db: Database, host: str, constraint: Constraint) -> None:
    job = make_job(db, JobState.ADMITTED, host=make_host(db, host))
    assert ask(db, job).constraint is constraint


RUNNING = {"state": "running", "encoder": 0, "lease_until": LATER, "rows_read": 7}


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"state": "waiting"}, "Its files are checked and wait for an encoder."),
        (RUNNING, "Its rows are being turned into tokens: 7 of 12. Then it joins the queue."),
        (
            {"state": "waiting", "not_before": LATER, "failures": 3},
            "Turning its rows into tokens failed 3 times, through no fault of its files.",
        ),
    ],
)
def test_a_job_that_is_validated_says_how_far_its_rows_are_encoded(
    db: Database, columns: dict[str, Any], reason: str
) -> None:
    job = make_job(db, JobState.VALIDATING, training_encoding="k" * 64)
    make_encoding(db, job, "k" * 64, "file:///nowhere", **columns)
    assert (ask(db, job).constraint, ask(db, job).reason) == (Constraint.VALIDATION, reason)


@pytest.mark.parametrize("state", [JobState.BACKOFF, JobState.PUBLISHING])
def test_a_retry_says_what_went_wrong_last(db: Database, state: JobState) -> None:
    job = make_job(db, state, not_before=LATER)
    with db.write() as session:
        for message, at in (("Long ago.", NOW - timedelta(hours=1)), ("The registry is away.", NOW)):
            record(session, job.tenant_id, job.id, EventDraft(message, level="warn"), at)
    assert ask(db, job).reason == "The registry is away."


def test_the_answer_is_made_of_facts_alone(sqlite_db: Database) -> None:
    facts = JobFacts(job=make_job(sqlite_db, **waits("seat")), ahead=3, queued=9)
    assert explain(facts, NOW) == explain(facts, NOW)
    assert (explain(facts, NOW).position, explain(facts, NOW).queue_length) == (4, 9)


def test_only_its_owner_may_ask_and_learns_no_name_of_others(web: TestClient, api: Api) -> None:
    db = api.services.db
    other, key = add_tenant(api.services, "other-team")
    theirs = make_job(db, JobState.RUNNING, make_tenant(db, "third-team"))
    from orchestrator.db.tables import TenantRow

    with db.read() as session:
        mine = make_job(db, tenant=session.get_one(TenantRow, api.tenant.id), **waits("seat"))
    answer = web.get(f"/v1/fine_tuning/jobs/{mine.id}/why")

    assert answer.json()["constraint"] == "seat"
    assert not any(name in answer.text for name in ("third-team", theirs.id, theirs.tenant_id, other.id))
    path, header = f"/v1/fine_tuning/jobs/{mine.id}/why", {"authorization": f"Bearer {key}"}
    assert web.get(path, headers=header).status_code == 404

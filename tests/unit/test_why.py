"""`why`: for every state a constraint in words, its place in the queue, and nothing about anybody else."""

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from orchestrator.catalogue.need import HostNeed
from orchestrator.db.database import Database
from orchestrator.db.states import TERMINAL, Desired, JobState, StopReason
from orchestrator.lifecycle.events import EventDraft, record
from orchestrator.queries.blockers import Constraint, JobFacts
from orchestrator.queries.why import WhyView, explain, load_facts, why
from tests.builders.live_api import Api, add_tenant, make_catalogue
from tests.builders.rows import NOW, make_host, make_job, make_tenant
from workers.contract.lanes import Lane
from workers.contract.spec import JobSpec

LATER = NOW + timedelta(minutes=5)
NOTHING = Constraint.NOTHING


def load_facts_of(db: Database, job: Any) -> JobFacts:
    with db.read() as session:
        return load_facts(session, make_catalogue(), job, NOW)


def ask(db: Database, job: Any, **catalogue: Any) -> WhyView:
    return why(db, make_catalogue(**catalogue), job.tenant_id, job.id, NOW)


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
        (JobState.QUEUED, {"queue_reason": "All busy."}, Constraint.DEVICE, "All busy.", "free device for a host"),
        (JobState.QUEUED, {"desired": "pause"}, NOTHING, "paused at the next pass", None),
        (JobState.STARTING, {}, NOTHING, "tokenizing its rows", None),
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


def test_the_position_counts_all_that_could_go_before(db: Database) -> None:
    first = make_job(db, tenant=make_tenant(db))
    urgent = make_job(db, priority=5)
    mine = make_job(db)
    later = make_job(db)
    for other in ({"desired": "pause"}, {"not_before": LATER}, {"state": JobState.RUNNING}):
        make_job(db, **({"priority": 9} | other))

    places = {job.id: ask(db, job).position for job in (urgent, first, mine, later)}
    assert list(places.values()) == [1, 2, 3, 4]
    assert ask(db, mine).queue_length == 4
    assert "2 job(s) for tiny are ahead of it in the queue" in ask(db, mine).reason


def test_who_waits_for_another_base_stands_in_another_line(db: Database) -> None:
    make_job(db, base_id="org/tiny-2")
    mine = make_job(db, queue_reason="Waiting.")
    assert ask(db, mine).unblocks == "A free device for a host of tiny. 1 job(s) are ahead of it."
    assert load_facts_of(db, mine).in_line == 0


def test_a_queue_for_a_seat_is_told_from_one_for_a_device_and_from_what_can_never_run(db: Database) -> None:
    job = make_job(db, queue_reason="Waiting.")
    assert ask(db, job).constraint is Constraint.DEVICE
    assert ask(db, job, bases=make_catalogue().bases[1:]).constraint is Constraint.PLACEMENT
    make_host(db, "ready", base_id="other")
    assert ask(db, job).constraint is Constraint.DEVICE
    make_host(db, "ready")
    assert ask(db, job).constraint is Constraint.SEAT


def test_where_a_job_fits_only_by_recomputing_is_no_place_for_the_solo_lane(
    sqlite_db: Database,
) -> None:
    fused = make_job(sqlite_db, queue_reason="Waiting.")
    solo = make_job(sqlite_db, queue_reason="Waiting.", spec_changes={"lane": Lane.SOLO})
    need = HostNeed.of(JobSpec.model_validate(fused.spec))
    (cpu,) = make_catalogue().flavors
    just = cpu.model_copy(update={"memory_bytes": need.total_bytes})
    assert ask(sqlite_db, fused, flavors=(just,)).constraint is Constraint.DEVICE
    assert ask(sqlite_db, solo, flavors=(just,)).constraint is Constraint.PLACEMENT


@pytest.mark.parametrize(("host", "constraint"), [("starting", Constraint.HOST), ("ready", NOTHING)])
def test_an_admitted_job_waits_for_a_host_that_is_loading(db: Database, host: str, constraint: Constraint) -> None:
    job = make_job(db, JobState.ADMITTED, host=make_host(db, host))
    assert ask(db, job).constraint is constraint


@pytest.mark.parametrize("state", [JobState.BACKOFF, JobState.PUBLISHING])
def test_a_retry_says_what_went_wrong_last(db: Database, state: JobState) -> None:
    job = make_job(db, state, not_before=LATER)
    with db.write() as session:
        for message, at in (("Long ago.", NOW - timedelta(hours=1)), ("The registry is away.", NOW)):
            record(session, job.tenant_id, job.id, EventDraft(message, level="warn"), at)
    assert ask(db, job).reason == "The registry is away."


def test_the_answer_is_made_of_facts_alone(sqlite_db: Database) -> None:
    facts = JobFacts(job=make_job(sqlite_db, queue_reason="Waiting."), ahead=3, queued=9, hosts=2)
    assert explain(facts, NOW) == explain(facts, NOW)
    assert (explain(facts, NOW).position, explain(facts, NOW).queue_length) == (4, 9)


def test_only_its_owner_may_ask_and_learns_no_name_of_others(web: TestClient, api: Api) -> None:
    db = api.services.db
    other, key = add_tenant(api.services, "other-team")
    theirs = make_job(db, JobState.RUNNING, make_tenant(db, "third-team"))
    from orchestrator.db.tables import TenantRow

    with db.read() as session:
        mine = make_job(db, tenant=session.get_one(TenantRow, api.tenant.id), queue_reason="Waiting for a seat.")
    answer = web.get(f"/v1/fine_tuning/jobs/{mine.id}/why")

    assert answer.json()["constraint"] == "seat"
    assert not any(name in answer.text for name in ("third-team", theirs.id, theirs.tenant_id, other.id))
    path, header = f"/v1/fine_tuning/jobs/{mine.id}/why", {"authorization": f"Bearer {key}"}
    assert web.get(path, headers=header).status_code == 404

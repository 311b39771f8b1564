"""Every invariant finds the row that breaks it, and nothing else is said of sound rows."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import delete, update

from orchestrator.bases.marks import mark
from orchestrator.db.database import Database
from orchestrator.db.encoding_tables import EncodingRow
from orchestrator.db.job_tables import AttemptRow, CheckpointRow, EventRow, JobRow
from orchestrator.db.states import JobState
from orchestrator.db.tables import HostRow
from orchestrator.lifecycle.events import EventDraft, record
from orchestrator.lifecycle.invariants import LATE, RULES, violations
from tests.builders.rows import NOW, make_checkpoint, make_host, make_job, make_tenant
from workers.contract.errors import ErrorCode

Break = Callable[[Database], str]


def write(db: Database, statement) -> None:
    with db.write() as session:
        session.execute(statement)


def running(db: Database, **changes) -> JobRow:
    return make_job(db, JobState.RUNNING, **changes)


def ended_twice(db: Database) -> str:
    job = make_job(db)
    with db.write() as session:
        record(session, job.tenant_id, job.id, EventDraft("over"), NOW, moved_to=JobState.CANCELLED)
    return job.id


def moved_past_the_door(db: Database) -> str:
    job = running(db)
    with db.write() as session:
        record(session, job.tenant_id, job.id, EventDraft("moved"), NOW, moved_to=JobState.STARTING)
    return job.id


def kept_for_one_that_runs(db: Database) -> str:
    return running(db, kept_host_id="host-1").id


def attempt_not_counted(db: Database) -> str:
    job = running(db)
    write(db, update(JobRow).where(JobRow.id == job.id).values(attempt=0))
    return f"{job.id}/1"


def seat_of_another_lease(db: Database) -> str:
    job = running(db)
    write(db, update(JobRow).where(JobRow.id == job.id).values(lease_token="another"))
    return job.id


def attempt_left_behind(db: Database) -> str:
    job = running(db)
    write(db, update(JobRow).where(JobRow.id == job.id).values(state="queued", lease_token=None))
    return f"{job.id}/1"


def host_with_too_many(db: Database) -> str:
    host = make_host(db)
    for _ in range(host.spec["max_seats"] + 1):
        running(db, host=host)
    return host.id


def attempt_on_a_dead_host(db: Database) -> str:
    host = make_host(db)
    job = running(db, host=host)
    write(db, update(HostRow).where(HostRow.id == host.id).values(state="gone", ended_at=NOW))
    return f"{job.id}/1"


def host_that_ended_and_lives(db: Database) -> str:
    return make_host(db, ended_at=NOW).id


def job_beyond_its_deadline(db: Database) -> str:
    return running(db, state_deadline=NOW - LATE - timedelta(seconds=1)).id


def pause_that_never_ends(db: Database) -> str:
    return make_job(db, JobState.BACKOFF, not_before=NOW - LATE - timedelta(seconds=1)).id


def checkpoint_of_nobody(db: Database) -> str:
    return make_checkpoint(db, running(db), step=3, attempt=7).id


def checkpoint_without_a_manifest(db: Database) -> str:
    return make_checkpoint(db, running(db), step=3, manifest_sha256="").id


def resumed_from_nothing(db: Database) -> str:
    job = running(db)
    write(db, update(AttemptRow).where(AttemptRow.job_id == job.id).values(resumed_from_step=5))
    return f"{job.id}/1"


def resumed_from_an_older_one(db: Database) -> str:
    job, host = running(db), make_host(db)
    make_checkpoint(db, job, step=3)
    write(db, update(AttemptRow).where(AttemptRow.job_id == job.id).values(ended_at=NOW, exit_class="infra"))
    write(db, update(JobRow).where(JobRow.id == job.id).values(attempt=2, lease_token="second"))
    first = {"job_id": job.id, "tenant_id": job.tenant_id, "memory_bytes": 1, "started_at": NOW, "lease_until": NOW}
    with db.write() as session:
        session.add(AttemptRow(number=2, host_id=host.id, lease_token="second", **first))
    return f"{job.id}/2"


def newest_checkpoint_deleted(db: Database) -> str:
    job = running(db)
    make_checkpoint(db, job, step=3)
    return make_checkpoint(db, job, step=6, state="deleted").id


def infra_loss_on_the_users_account(db: Database) -> str:
    job = running(db, user_failures=1, max_user_retries=1)
    write(db, update(AttemptRow).where(AttemptRow.job_id == job.id).values(ended_at=NOW, exit_class="infra"))
    write(db, update(JobRow).where(JobRow.id == job.id).values(state="queued", lease_token=None))
    return job.id


def losses_without_attempts(db: Database) -> str:
    return make_job(db, infra_failures=1).id


def losses_beyond_the_budget(db: Database) -> str:
    job = running(db, infra_failures=1, max_infra_retries=0)
    write(db, update(AttemptRow).where(AttemptRow.job_id == job.id).values(ended_at=NOW, exit_class="infra"))
    write(db, update(JobRow).where(JobRow.id == job.id).values(state="queued", lease_token=None))
    return job.id


def foreign_attempt(db: Database) -> str:
    job, stranger = running(db), make_tenant(db)
    write(db, update(AttemptRow).where(AttemptRow.job_id == job.id).values(tenant_id=stranger.id))
    return job.id


def foreign_checkpoint(db: Database) -> str:
    job, stranger = running(db), make_tenant(db)
    checkpoint = make_checkpoint(db, job, step=3)
    write(db, update(CheckpointRow).where(CheckpointRow.id == checkpoint.id).values(tenant_id=stranger.id))
    return job.id


def foreign_event(db: Database) -> str:
    job, stranger = running(db), make_tenant(db)
    write(db, update(EventRow).where(EventRow.job_id == job.id).values(tenant_id=stranger.id))
    return job.id


def success_without_a_version(db: Database) -> str:
    return make_job(db, JobState.SUCCEEDED, registry_version=None).id


def version_of_a_failed_job(db: Database) -> str:
    return make_job(db, JobState.FAILED, registry_name="bot", registry_version="1").id


def terminal_without_its_event(db: Database) -> str:
    job = make_job(db, JobState.CANCELLED)
    write(db, delete(EventRow).where(EventRow.job_id == job.id))
    return job.id


def host_of_a_marked_base(db: Database) -> str:
    failed = make_host(db, "gone", ended_at=NOW)
    restarted = make_host(db, "starting", created_at=NOW + timedelta(seconds=1))
    with db.write() as session:
        mark(session, failed, ErrorCode.BASE_UNUSABLE, "It cannot be loaded.", NOW)
    return restarted.id


def queued_without_rows(db: Database) -> str:
    job = make_job(db)
    write(db, update(EncodingRow).values(state="waiting", encoded=None))
    return job.id


def needs_an_encoding_that_is_gone(db: Database) -> str:
    return make_job(db, JobState.VALIDATING, training_encoding="0" * 64).id


def needs_a_strangers_encoding(db: Database) -> str:
    job, stranger = make_job(db), make_tenant(db)
    write(db, update(EncodingRow).values(tenant_id=stranger.id))
    return job.id


BREAKS: dict[str, list[Break]] = {
    "I1": [ended_twice, moved_past_the_door, terminal_without_its_event],
    "I2": [attempt_not_counted],
    "I3": [seat_of_another_lease, attempt_left_behind],
    "I4": [host_with_too_many],
    "I6": [attempt_on_a_dead_host, host_that_ended_and_lives],
    "I7": [job_beyond_its_deadline, pause_that_never_ends],
    "I9": [checkpoint_of_nobody, checkpoint_without_a_manifest],
    "I10": [resumed_from_nothing, resumed_from_an_older_one],
    "I11": [newest_checkpoint_deleted],
    "I12": [infra_loss_on_the_users_account, losses_without_attempts],
    "I13": [losses_beyond_the_budget],
    "I14": [foreign_attempt, foreign_checkpoint, foreign_event],
    "I15": [success_without_a_version, version_of_a_failed_job],
    "I16": [kept_for_one_that_runs],
    "I17": [host_of_a_marked_base],
    "I18": [queued_without_rows, needs_an_encoding_that_is_gone, needs_a_strangers_encoding],
}


def found(db: Database) -> set[tuple[str, str]]:
    with db.read() as session:
        return {(violation.name, violation.subject) for violation in violations(session, NOW)}


@pytest.mark.parametrize(
    ("name", "break_it"),
    [pytest.param(name, case, id=case.__name__) for name, cases in BREAKS.items() for case in cases],
)
def test_a_broken_row_is_found_and_named(sqlite_db: Database, name: str, break_it: Break):
    subject = break_it(sqlite_db)
    assert (name, subject) in found(sqlite_db)


def test_every_rule_has_a_row_that_breaks_it():
    assert {rule.name for rule in RULES} == set(BREAKS)


def test_two_jobs_that_share_a_version_are_both_found(sqlite_db: Database):
    tenant = make_tenant(sqlite_db)
    jobs = [make_job(sqlite_db, JobState.SUCCEEDED, tenant) for _ in range(2)]
    assert found(sqlite_db) == {("I15", job.id) for job in jobs}


def test_sound_rows_in_every_state_break_nothing(db: Database):
    for state in JobState:
        make_job(db, state, registry_version=None if state is not JobState.SUCCEEDED else "1")
    make_checkpoint(db, make_job(db, JobState.RUNNING), step=3)
    assert found(db) == set()

"""Real processes of the control plane die or stand still at named places; the tenants of a live stack look on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx2
import openai
import pytest
from sqlalchemy import func, select

from orchestrator.db.job_tables import EventRow, JobRow
from orchestrator.db.tables import HostRow
from tests.builders.live_stack import submit, upload
from tests.builders.waiting import wait_until
from tests.faults.rig import LEASE_TTL_S, PATIENCE_S, Rig, end_of
from tests.faults.tenants import one_client, succeeds

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(1_200)]

PRECISIONS = ("none", "int8")


def post(client: openai.OpenAI, file_id: str, key: str) -> httpx2.Response | None:
    """POST a job under an Idempotency-Key. None: nobody answered."""
    body = {"model": "tiny", "training_file": file_id, "seed": 7, "x_orchard": {"data": {"max_seq_len": 128}}}
    headers = {"authorization": f"Bearer {client.api_key}", "idempotency-key": key}
    try:
        return httpx2.post(f"{client.base_url}fine_tuning/jobs", json=body, headers=headers, timeout=60)
    except httpx2.TransportError:
        return None


def answered(client: openai.OpenAI, file_id: str, key: str) -> str:
    """Repeat the POST until there is a job."""
    answer = wait_until(lambda: post(client, file_id, key), "the API answers again", PATIENCE_S)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def fresh_precision(rig: Rig) -> str:
    """One for which no host lives, so that a job needs a new host."""
    with rig.live.db.read() as session:
        held = session.scalars(select(HostRow.quantization).where(HostRow.state != "gone")).all()
    return next(each for each in PRECISIONS if each not in held)


def test_f01_an_api_killed_after_commit_has_made_the_job_that_the_retry_finds(rig: Rig):
    client = one_client(rig)
    file_id = upload(client)
    before = rig.live.child_pid("api")
    rig.arm("submit.after_commit")
    assert post(client, file_id, "once") is None
    rig.fired("submit.after_commit")
    rig.replaced("api", before)
    job_id = answered(client, file_id, "once")
    assert answered(client, file_id, "once") == job_id
    assert [job.id for job in client.fine_tuning.jobs.list()] == [job_id]
    succeeds(rig, client, job_id)


def test_f02_fifty_identical_posts_with_a_death_before_commit_make_one_job(rig: Rig):
    client = one_client(rig)
    file_id = upload(client)
    before = rig.live.child_pid("api")
    rig.arm("submit.before_commit", "kill9@2")
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: post(client, file_id, "many"), range(50)))
    rig.arm("submit.before_commit", "kill9") if not rig.firings("submit.before_commit") else None
    if rig.live.child_pid("api") == before and not rig.firings("submit.before_commit"):
        assert post(client, file_id, "another") is None
    rig.replaced("api", before)
    for answer in filter(None, answers):
        assert answer.status_code in (200, 409), answer.text
    assert not any("sqlalchemy" in answer.text.lower() for answer in answers if answer)
    job_id = answered(client, file_id, "many")
    ids = {answer.json()["id"] for answer in answers if answer and answer.status_code == 200}
    assert ids <= {job_id}
    assert sum(job.id == job_id for job in client.fine_tuning.jobs.list()) == 1
    end_of(client, job_id)


@pytest.mark.parametrize("place", ["submit.before_commit", "upload.stored"])
def test_f02_a_death_before_commit_leaves_nothing(rig: Rig, place: str):
    client = one_client(rig)
    file_id = upload(client)
    before = rig.live.child_pid("api")
    rig.arm(place)
    with pytest.raises(openai.APIConnectionError):
        submit(client, file_id) if place.startswith("submit") else upload(client)
    rig.fired(place)
    rig.replaced("api", before)
    wait_until(lambda: post_ready(rig), "the API serves", PATIENCE_S)
    assert list(client.fine_tuning.jobs.list()) == []
    assert [file.id for file in client.files.list()] == [file_id]


def post_ready(rig: Rig) -> bool:
    try:
        return httpx2.get(f"{rig.live.stack.api_url}/healthz").status_code == 200
    except httpx2.TransportError:
        return False


@pytest.mark.parametrize("place", ["schedule.applied", "seats.attached", "hosts.taken", "publish.registered"])
def test_f03_an_orchestrator_killed_between_a_commit_and_the_world_goes_on_where_it_was(rig: Rig, place: str):
    client = one_client(rig)
    file_id = upload(client)
    before = rig.live.child_pid("orchestrator")
    rig.arm(place)
    job_id = submit(client, file_id).id
    rig.fired(place)
    rig.replaced("orchestrator", before)
    succeeds(rig, client, job_id)


def test_f04_a_host_started_but_not_recorded_is_adopted_by_name(rig: Rig):
    client = one_client(rig)
    file_id = upload(client)
    before = rig.live.child_pid("orchestrator")
    rig.arm("hosts.started")
    job_id = submit(client, file_id, quantization=fresh_precision(rig)).id
    rig.fired("hosts.started")
    rig.replaced("orchestrator", before)
    succeeds(rig, client, job_id)
    host = rig.host_of(job_id)
    assert (host.base_loads, host.state) == (1, "ready")
    assert rig.host_processes() == {host.pid}


def test_f05_an_orchestrator_killed_with_the_outcome_in_hand_publishes_once(rig: Rig):
    client = one_client(rig)
    job_id = submit(client, upload(client), n_epochs=20).id
    wait_until(lambda: rig.job(job_id).state == "running", "the job runs", PATIENCE_S)
    before = rig.live.child_pid("orchestrator")
    with rig.standing_still(before):
        wait_until(
            (rig.folder_of(job_id) / "a1" / "adapter" / "manifest.json").exists, "the adapter is written", PATIENCE_S
        )
        rig.arm("hosts.polled")
    rig.fired("hosts.polled")
    rig.replaced("orchestrator", before)
    succeeds(rig, client, job_id)


def test_f06_an_orchestrator_killed_after_the_registry_made_a_version_finds_it_again(rig: Rig):
    client = one_client(rig)
    file_id = upload(client)
    before = rig.live.child_pid("orchestrator")
    rig.arm("publish.version")
    job_id = submit(client, file_id).id
    rig.fired("publish.version")
    assert rig.versions(job_id) == 1
    rig.replaced("orchestrator", before)
    succeeds(rig, client, job_id)


@contextmanager
def another_orchestrator(rig: Rig) -> Iterator[int]:
    """A second one on the same database, as a replica would be. Yields its process id."""
    log = (rig.live.stack.home / "logs" / "second.log").open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator"],
        env={**os.environ, **rig.live.stack.environment},
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        log.close()


def test_f07_an_orchestrator_that_stood_still_beyond_its_leases_changes_nothing_when_it_is_back(rig: Rig):
    client = one_client(rig)
    file_id = upload(client)
    running = submit(client, file_id, n_epochs=50, checkpoint_interval_steps=5).id
    wait_until(lambda: rig.job(running).state == "running", "the first job runs", PATIENCE_S)
    with another_orchestrator(rig) as second, rig.standing_still(rig.live.child_pid("orchestrator")):
        meanwhile = submit(client, file_id).id
        end_of(client, meanwhile)
        time.sleep(3 * LEASE_TTL_S)  # the point is the time that passes
    after = [submit(client, file_id).id for _ in range(2)]
    for job_id in (running, meanwhile, *after):
        succeeds(rig, client, job_id)
    assert second


def test_f29_mlflow_is_killed_and_stands_still_while_an_adapter_waits_and_one_version_comes_of_it(rig: Rig):
    client = one_client(rig)
    mlflow = rig.live.child_pid("mlflow")
    with rig.standing_still(mlflow):
        job_id = submit(client, upload(client)).id
        wait_until(lambda: rig.job(job_id).state == "publishing", "the job is trained", PATIENCE_S)
        os.kill(mlflow, signal.SIGKILL)
    rig.replaced("mlflow", mlflow)
    succeeds(rig, client, job_id)


def test_f29_a_registry_that_fails_after_success_makes_one_version(rig: Rig):
    client = one_client(rig)
    file_id = upload(client)
    rig.arm("publish.version", "raise")
    job_id = submit(client, file_id).id
    rig.fired("publish.version")
    succeeds(rig, client, job_id)
    with rig.live.db.read() as session:
        ends = select(func.count()).where(EventRow.job_id == job_id, EventRow.moved_to == "succeeded")
        assert session.scalar(ends) == 1
        assert session.scalar(select(func.count()).where(JobRow.id == job_id)) == 1


def test_f25_a_running_job_cancelled_twice_frees_its_seat(rig: Rig):
    client = one_client(rig)
    job_id = submit(client, upload(client), n_epochs=50).id
    wait_until(lambda: rig.job(job_id).state == "running", "the job runs", PATIENCE_S)
    for _ in range(2):
        client.fine_tuning.jobs.cancel(job_id)
    wait_until(lambda: rig.job(job_id).state == "cancelled", "the seat is free", 15)
    assert all(attempt.ended_at for attempt in rig.attempts(job_id))
    assert client.fine_tuning.jobs.cancel(job_id).status == "cancelled"


def test_f24_a_data_set_that_is_gone_fails_the_job_with_a_code_and_no_retry(rig: Rig):
    client = one_client(rig)
    file_id = upload(client)
    for path in (rig.live.stack.home / "storage").rglob(f"{file_id}/content"):
        path.unlink()
    job = end_of(client, submit(client, file_id).id)
    assert (job.status, job.error.code) == ("failed", "storage_unavailable")
    assert rig.job(job.id).infra_failures == 0


def test_f24_a_row_that_is_too_long_fails_the_job_with_its_line(rig: Rig):
    client = one_client(rig)
    long = {"messages": [{"role": "user", "content": "x" * 900}, {"role": "assistant", "content": "y"}]}
    job = end_of(client, submit(client, upload(client, [long] * 10)).id)
    assert job.status == "failed"
    assert job.error.code == "invalid_training_file", json.dumps(job.model_dump(), default=str)
    assert [attempt.exit_class for attempt in rig.attempts(job.id)] == ["user"]

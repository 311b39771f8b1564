"""A POST that comes again, with a key or without: what is the same job, and what is meant twice."""

import threading
from datetime import datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from orchestrator.db.database import Database
from orchestrator.db.job_tables import IdempotencyRow, JobRow
from orchestrator.steps.step import Counts
from orchestrator.submission.idempotency import KEYS_KEPT, RETRY_WINDOW, ExpireIdempotencyKeys, Sender
from orchestrator.submission.receipts import JOBS, KEYS, Receipts
from orchestrator.submission.request import JobRequest
from orchestrator.submission.submit import SubmitDeps, submit
from orchestrator.tenancy.views import Tenant
from tests.builders.live_api import make_catalogue
from tests.builders.rows import NOW, make_file, make_tenant

SECOND = timedelta(seconds=1)


class Client:
    """A client of one tenant that posts the same body again and again, unless told otherwise."""

    def __init__(self, db: Database) -> None:
        row = make_tenant(db)
        self.submit_deps = SubmitDeps(db, make_catalogue(), "file:///nowhere", max_live_jobs=100)
        self.tenant = Tenant.of(row)
        self.request = JobRequest(model="tiny", training_file=make_file(db, row).id)

    def post(
        self,
        retries: int = 0,
        after: timedelta = timedelta(0),
        *,
        key_id: str = "key-1",
        seed: int | None = None,
        received: tuple[str, ...] = (),
    ) -> str:
        request = self.request if seed is None else self.request.model_copy(update={"seed": seed})
        sender = Sender(key_id, retries, received=received)
        return submit(self.submit_deps, self.tenant, request, None, NOW + after, sender)

    @property
    def jobs(self) -> int:
        with self.submit_deps.db.read() as session:
            return session.scalar(select(func.count()).select_from(JobRow)) or 0


@pytest.fixture
def client(db: Database) -> Client:
    return Client(db)


@pytest.mark.parametrize("after", [timedelta(0), SECOND, RETRY_WINDOW])
def test_a_repeat_gives_the_job_of_the_first_try(client: Client, after: timedelta) -> None:
    first = client.post()
    assert client.post(1, after) == client.post(2, after) == first
    assert client.jobs == 1


def test_a_repeat_whose_first_try_never_got_through_makes_the_job_once(client: Client) -> None:
    assert client.post(1) == client.post(2, SECOND)
    assert client.jobs == 1


def test_a_first_try_that_waited_longer_than_its_repeat_makes_no_second_job(client: Client) -> None:
    made = client.post(1, SECOND)
    assert client.post(0) == made
    assert client.jobs == 1


def test_posts_that_say_they_are_the_first_are_meant(client: Client) -> None:
    assert len({client.post(0, SECOND * number) for number in (3, 1, 2)}) == 3


@pytest.mark.parametrize("other", [{"key_id": "key-2"}, {"seed": 1}, {"after": RETRY_WINDOW + SECOND}])
def test_a_repeat_of_something_else_makes_its_own_job(client: Client, other: dict[str, object]) -> None:
    assert client.post() != client.post(1, **other)


def test_a_first_try_and_its_repeats_at_the_same_time_make_one_job(client: Client) -> None:
    together, ids = threading.Barrier(3), []

    def post(retries: int) -> None:
        together.wait()
        ids.append(client.post(retries))

    threads = [threading.Thread(target=post, args=(retries,)) for retries in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(ids), len(set(ids)), client.jobs) == (3, 1, 1)


def test_a_repeat_gives_the_newest_of_twins(client: Client) -> None:
    client.post()
    second = client.post(0, SECOND)
    assert client.post(1, 2 * SECOND) == second


def test_a_repeat_never_gives_a_job_whose_answer_its_client_is_known_to_have(client: Client) -> None:
    first = client.post()
    second = client.post(1, SECOND, received=(first,))  # an equal submission whose first try was cut off
    assert second != first
    assert client.post(2, 2 * SECOND, received=(first,)) == second


def test_a_first_try_that_comes_late_makes_no_second_job_though_its_repeat_was_answered(client: Client) -> None:
    made = client.post(1, SECOND)
    assert client.post(0, received=(made,)) == made


def test_what_a_client_asked_for_by_its_id_was_answered(web: TestClient) -> None:
    rows = b'{"prompt": "q", "completion": "a"}\n' * 4
    file = web.post("/v1/files", files={"file": ("t.jsonl", rows)}, data={"purpose": "fine-tune"}).json()["id"]

    def post(retries: int) -> str:
        body, headers = {"model": "tiny", "training_file": file}, {"x-stainless-retry-count": str(retries)}
        return web.post("/v1/fine_tuning/jobs", json=body, headers=headers).json()["id"]

    first = post(0)
    assert post(1) == first  # its answer may have been lost
    assert web.get(f"/v1/fine_tuning/jobs/{first}").status_code == 200
    second = post(1)
    assert second != first
    assert post(2) == second


def test_receipts_keep_the_latest_jobs_of_the_latest_keys() -> None:
    receipts = Receipts()
    for number in range(JOBS + 1):
        receipts.note("key-1", f"job-{number}")
    receipts.note("key-1", "job-1")
    assert receipts.of("key-1") == (*(f"job-{number}" for number in range(2, JOBS + 1)), "job-1")
    for number in range(KEYS):
        receipts.note(f"other-{number}", "job")
    assert receipts.of("key-1") == receipts.of("unknown") == ()


def test_another_tenants_equal_body_is_another_job(db: Database, client: Client) -> None:
    other = Client(db)
    other.request = client.request.model_copy(update={"training_file": other.request.training_file})
    assert client.post() != other.post(1)


def test_keys_are_forgotten_after_a_day(client: Client, db: Database) -> None:
    for key, at in (("old", NOW), ("young", NOW + SECOND)):
        submit(client.submit_deps, client.tenant, client.request, key, at)

    assert forget(db, NOW + KEYS_KEPT) == Counts()
    assert forget(db, NOW + KEYS_KEPT + SECOND) == Counts(forgotten=1)
    with db.read() as session:
        assert session.scalars(select(IdempotencyRow.key)).all() == ["young"]
    assert timedelta(hours=24) < KEYS_KEPT


def forget(db: Database, now: datetime) -> Counts:
    return ExpireIdempotencyKeys(db).run_once(now)

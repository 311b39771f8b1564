"""What usage adds up to, and for whom; and how much of a minute was lost."""

from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.db.database import Database
from orchestrator.db.effect_tables import UsageRow
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import JobState
from orchestrator.usage.losses import lost, lost_share
from tests.builders.live_api import Api, add_tenant
from tests.builders.rows import make_job

NOON = int(datetime(2030, 1, 2, 12, tzinfo=UTC).timestamp())
HOUR, DAY = 3_600, 86_400


def used(db: Database, job: JobRow, at: int, **changes: object) -> None:
    """A minute of the job's first attempt."""
    fields = {
        "job_id": job.id,
        "attempt": 1,
        "minute": at // 60,
        "tenant_id": job.tenant_id,
        "base_id": job.base_id,
        "flavor": "cpu",
        "step_before": 0,
        "step": 1,
        "metered_until": datetime.fromtimestamp(at, UTC),
        "tokens": 100,
        "supervised_tokens": 40,
        "seat_seconds": 60.0,
        "lost_tokens": 0,
        "lost_supervised_tokens": 0,
        "lost_seat_seconds": 0.0,
    }
    with db.write() as session:
        session.add(UsageRow(**(fields | changes)))


@pytest.fixture
def job(api: Api) -> JobRow:
    from orchestrator.db.tables import TenantRow

    with api.services.db.read() as session:
        tenant = session.get_one(TenantRow, api.tenant.id)
    return make_job(api.services.db, JobState.SUCCEEDED, tenant)


def asked(web: TestClient, path: str = "/v1/usage", **params: object) -> list[tuple[int, dict[str, int], dict]]:
    """(start of the bucket, tokens used by key, the last result), buckets with something in them only."""
    answer = web.get(path, params={"start": NOON, "end": NOON + 3 * HOUR} | params)
    assert answer.status_code == 200, answer.text
    return [
        (
            bucket["start_time"],
            {item["key"]: item["used"]["tokens"] for item in bucket["results"]},
            bucket["results"][-1],
        )
        for bucket in answer.json()["data"]
        if bucket["results"]
    ]


def test_minutes_add_up_to_hours(web: TestClient, api: Api, job: JobRow):
    for at in (NOON, NOON + 59 * 60, NOON + HOUR):
        used(api.services.db, job, at, lost_tokens=30, lost_seat_seconds=15.0)
    first, second = asked(web)
    assert first[:2] == (NOON, {None: 200})
    assert second[:2] == (NOON + HOUR, {None: 100})
    assert first[2]["used"] == {"tokens": 200, "supervised_tokens": 80, "seat_seconds": 120.0}
    assert first[2]["billable"] == {"tokens": 140, "supervised_tokens": 80, "seat_seconds": 90.0}


def test_days_begin_at_midnight_in_utc(web: TestClient, api: Api, job: JobRow):
    for at in (NOON, NOON + 12 * HOUR - 60, NOON + 12 * HOUR):
        used(api.services.db, job, at)
    midnight = NOON - 12 * HOUR
    found = asked(web, bucket="day", end=NOON + DAY)
    assert [(start, keys) for start, keys, _ in found] == [(midnight, {None: 200}), (midnight + DAY, {None: 100})]


def test_usage_is_told_apart_by_what_is_asked(web: TestClient, api: Api, job: JobRow):
    used(api.services.db, job, NOON)
    used(api.services.db, job, NOON + 60, base_id="other")
    assert asked(web)[0][1] == {None: 200}
    assert asked(web, group_by="base")[0][1] == {"tiny": 100, "other": 100}
    assert asked(web, group_by="job")[0][1] == {job.id: 200}
    assert asked(web, group_by="flavor")[0][1] == {"cpu": 200}


def test_a_tenant_sees_its_own_usage_and_an_admin_everybodys(web: TestClient, api: Api, job: JobRow):
    used(api.services.db, job, NOON)
    other = make_job(api.services.db)
    used(api.services.db, other, NOON, tokens=7, supervised_tokens=7, lost_supervised_tokens=0)
    assert asked(web)[0][1] == {None: 100}
    _, key = add_tenant(api.services, "other")
    assert web.get("/v1/usage", headers={"authorization": f"Bearer {key}"}).json()["data"][0]["results"] == []

    assert web.get("/v1/admin/usage").status_code == 403
    web.headers.update(api.admin_headers)
    [(_, by_tenant, _)] = asked(web, "/v1/admin/usage", group_by="tenant")
    assert sorted(by_tenant.values()) == [7, 100]
    assert by_tenant["acme"] == 100
    assert asked(web, "/v1/admin/usage", tenant="acme")[0][1] == {None: 100}
    assert web.get("/v1/admin/usage", params={"tenant": "nobody"}).status_code == 404


def test_a_long_time_comes_in_pages(web: TestClient, api: Api, job: JobRow):
    used(api.services.db, job, NOON)
    used(api.services.db, job, NOON + 40 * HOUR)
    params = {"start": NOON, "end": NOON + 48 * HOUR}
    first = web.get("/v1/usage", params=params).json()
    assert (len(first["data"]), first["has_more"]) == (31, True)
    second = web.get("/v1/usage", params=params | {"start": first["next_page"]}).json()
    assert (len(second["data"]), second["has_more"], second["next_page"]) == (17, False, None)
    assert sum(len(bucket["results"]) for page in (first, second) for bucket in page["data"]) == 2


def test_any_time_that_is_accepted_is_answered(web: TestClient):
    latest = 32_503_679_999
    for params in ({"start": 0, "end": latest}, {"start": latest - 1, "end": latest}, {"end": 0}, {"end": 1}):
        for bucket in ("hour", "day"):
            assert web.get("/v1/usage", params=params | {"bucket": bucket}).status_code == 200, params
    assert web.get("/v1/usage", params={"end": latest + 1}).status_code == 400


def test_without_times_the_last_24_hours_are_told(web: TestClient):
    data = web.get("/v1/usage").json()["data"]
    assert len(data) in {24, 25}
    assert data[-1]["end_time"] > datetime.now(UTC).timestamp() - 60


WRONG: list[tuple[dict[str, object], str]] = [
    ({"start": NOON, "end": NOON}, "start"),
    ({"start": -1}, "start"),
    ({"end": 10**15}, "end"),
    ({"bucket": "week"}, "bucket"),
    ({"group_by": "tenant"}, "group_by"),
]


def test_a_wrong_question_is_refused_with_the_field(web: TestClient):
    for params, param in WRONG:
        refused = web.get("/v1/usage", params=params)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("before", "after", "committed", "share"),
    [
        (0, 10, None, 1.0),
        (0, 10, 10, 0.0),
        (0, 10, 20, 0.0),
        (0, 10, 0, 1.0),
        (10, 20, 5, 1.0),
        (10, 20, 15, 0.5),
        (10, 20, 19, 0.1),
        (10, 10, 10, 0.0),
        (10, 10, 5, 1.0),
        (10, 10, None, 1.0),
    ],
)
def test_the_lost_share_of_a_minute_is_that_of_its_steps_beyond_the_checkpoint(
    before: int, after: int, committed: int | None, share: float
):
    assert lost_share(before, after, committed) == pytest.approx(share)


@given(st.integers(0, 50), st.integers(0, 50), st.none() | st.integers(0, 120), st.integers(0, 10**12))
def test_nothing_is_lost_that_was_not_used_and_an_older_checkpoint_loses_no_less(
    before: int, steps: int, committed: int | None, tokens: int
):
    share = lost_share(before, before + steps, committed)
    part = lost(share, tokens, tokens // 2, tokens / 7)
    assert 0 <= part.tokens <= tokens
    assert 0 <= part.supervised_tokens <= tokens // 2
    assert 0 <= part.seat_seconds <= tokens / 7
    older = None if committed is None or committed == 0 else committed - 1
    assert lost_share(before, before + steps, older) >= share

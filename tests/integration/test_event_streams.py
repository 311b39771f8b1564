"""Event streams on real sockets: one reader for all, a bound per key, an end without news, and going on from there."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from api import event_feed
from api.cli import reconnect
from api.cli.client import OrchardClient
from api.cli.follow import follow_events
from api.cli.reconnect import Reconnect
from api.event_feed import EventFeed
from api.routes import event_stream
from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import JobState
from orchestrator.lifecycle.events import EventDraft, record
from orchestrator.lifecycle.suspension import Suspension, suspend
from orchestrator.lifecycle.transition import JobRef, transition
from orchestrator.queries import event_news
from orchestrator.queries.event_news import news_of
from orchestrator.tenancy.keys import create_tenant_key
from tests.builders.live_api import Api, live_api
from tests.builders.rows import NOW, make_job
from tests.builders.stock_client import tenant_row
from tests.builders.waiting import wait_until

Serve = Callable[..., AbstractContextManager[Api]]


@pytest.fixture
def serve(db: Database, tmp_path: Path) -> Serve:
    return lambda **changes: live_api(db, tmp_path, **changes)


class Stream:
    """An open stream: what came so far, as fields of each frame."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def frame(self) -> dict[str, str]:
        """The next frame, comments included under the name ""; {} at the end of the stream."""
        fields: dict[str, str] = {}
        for line in self._lines:
            if not line:
                return fields
            name, _, value = line.partition(": ")
            fields[name.rstrip(":")] = value
        return fields

    def message(self) -> str:
        return str(json.loads(self.frame()["data"])["message"])


@contextmanager
def stream(api: Api, job: JobRow, key: str | None = None, last: str | None = None) -> Iterator[Stream]:
    headers = {"authorization": f"Bearer {key or api.key}"} | ({"last-event-id": last} if last else {})
    url = f"{api.url}/v1/fine_tuning/jobs/{job.id}/events"
    with (
        httpx2.Client(timeout=60) as client,
        client.stream("GET", url, params={"stream": "true"}, headers=headers) as response,
    ):
        yield Stream(response)


def queued(api: Api) -> JobRow:
    return make_job(api.services.db, JobState.QUEUED, tenant_row(api))


def say(api: Api, job: JobRow, *messages: str) -> None:
    with api.services.db.write() as session:
        for message in messages:
            record(session, api.tenant.id, job.id, EventDraft(message), NOW)


def finish(api: Api, job: JobRow) -> None:
    with api.services.db.write() as session:
        transition(session, JobRef.of(job), JobState.CANCELLED, EventDraft("cancelled"), now=NOW)


def test_every_stream_gets_every_event_of_its_job_and_the_end(serve: Serve) -> None:
    with serve() as api, ExitStack() as open_streams:
        jobs = [queued(api) for _ in range(10)]
        streams = [(job, open_streams.enter_context(stream(api, job))) for job in jobs for _ in range(3)]
        for _, one in streams:
            assert one.message().startswith("Created")
        for job in jobs:
            say(api, job, f"1 {job.id}", f"2 {job.id}")
            finish(api, job)
        for job, one in streams:
            assert [one.message() for _ in range(3)] == [f"1 {job.id}", f"2 {job.id}", "cancelled"]
            assert one.frame() == {"event": "end", "data": '{"status":"cancelled"}'}
            assert one.frame() == {}


def test_streams_without_news_cost_one_statement_a_look_however_many_they_are(serve: Serve, db: Database) -> None:
    statements: list[tuple[str, Any]] = []
    event.listen(db._reader, "before_cursor_execute", lambda *args: statements.append(args[2:4]))
    with serve() as api, ExitStack() as open_streams:
        jobs = [queued(api) for _ in range(10)]
        streams = [open_streams.enter_context(stream(api, job)) for job in jobs for _ in range(3)]
        for one in streams:
            one.frame()
        statements.clear()
        wait_until(lambda: len(statements) > 20, "looks at the database")
        looks = [asked for statement, asked in statements if "max(event.seq)" in statement]
        assert {statement for statement, _ in statements if "max(event.seq)" not in statement} <= {"BEGIN"}
        assert {len(asked) for asked in looks} == {len(jobs)}, "a look asks about all of them at once"


def test_a_long_history_comes_whole_and_in_order(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_news, "EVENTS_AT_ONCE", 50)
    with serve() as api:
        job, other = queued(api), queued(api)
        say(api, job, *(str(n) for n in range(300)))
        with stream(api, job) as one, stream(api, other) as beside:
            assert beside.message().startswith("Created"), "nobody waits for another's history"
            assert one.message().startswith("Created")
            assert [one.message() for _ in range(300)] == [str(n) for n in range(300)]


def test_a_client_that_reads_too_slowly_keeps_no_news_from_others_of_its_job(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_news, "EVENTS_AT_ONCE", 20)
    monkeypatch.setattr(event_feed, "MAX_PENDING", 50)

    async def read(job_id: str, frames: int) -> tuple[int, bool]:
        feed = EventFeed(api.services.db, 0.01)
        with feed.watch(job_id, 0) as slow, feed.watch(job_id, 0) as prompt:
            got = 0
            async with asyncio.timeout(60):
                while got < frames:
                    got += len(await prompt.frames(60))
            return got, slow.lags

    with serve() as api:
        job = queued(api)
        say(api, job, *(str(n) for n in range(300)))
        assert asyncio.run(read(job.id, 301)) == (301, True)


def test_a_key_has_a_bound_of_streams_and_the_refusal_says_so(serve: Serve) -> None:
    with serve(event_streams_per_key=2) as api:
        job = queued(api)
        _, second_key = create_tenant_key(api.services.db, api.tenant.slug, "second", NOW)
        with stream(api, job) as one, stream(api, job) as two, stream(api, job) as refused:
            assert (one.response.status_code, two.response.status_code) == (200, 200)
            error = json.loads(refused.response.read())["error"]
            assert (refused.response.status_code, error["code"]) == (429, "too_many_streams")
            assert "2 event streams" in error["message"]
            assert int(refused.response.headers["retry-after"]) > 0
            with stream(api, job, second_key) as another_key:
                assert another_key.response.status_code == 200
            listed = httpx2.get(f"{api.url}/v1/fine_tuning/jobs/{job.id}/events", headers=api.headers)
            assert listed.status_code == 200, "reading without a stream needs no slot"

        def reopened() -> bool:
            with stream(api, job) as again:
                return again.response.status_code == 200

        wait_until(reopened, "the slots of streams that were closed")


def test_a_refused_stream_keeps_no_slot(serve: Serve) -> None:
    with serve(event_streams_per_key=1) as api:
        job = queued(api)
        for _ in range(3):
            with stream(api, missing_beside(job)) as missing:
                assert missing.response.status_code == 404
            with stream(api, job, last="ftevent-0") as unknown:
                assert unknown.response.status_code == 400
        with stream(api, job) as one:
            assert one.response.status_code == 200


def missing_beside(job: JobRow) -> JobRow:
    """A job that is not there."""
    return JobRow(id=job.id[:-1] + ("0" if job.id[-1] != "0" else "1"))


def test_a_paused_jobs_stream_ends_and_goes_on_after_the_last_event(serve: Serve) -> None:
    with serve(event_stream_idle_s=0.1) as api:
        job = make_job(api.services.db, JobState.PAUSED, tenant_row(api))
        with stream(api, job) as one:
            last = one.frame()["id"]
            end = one.frame()
            assert int(end["retry"]) > 0, "when a browser opens it again"
            assert "data" not in end, "clients are told nothing that is no event"
            assert one.frame() == {}, "the response is complete, not cut off"
        say(api, job, "later")
        with stream(api, job, last=last) as again:
            assert again.message() == "later"


def test_a_stream_ends_in_time_whatever_its_news_so_that_a_revoked_key_is_noticed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "MAX_AGE_S", 0.1)
    with serve() as api:
        tenant = tenant_row(api)
        job = make_job(api.services.db, JobState.QUEUED, tenant)
        with stream(api, job) as one:
            one.frame()
            assert int(one.frame()["retry"]) > 0
        suspend(api.services.db, tenant.slug, Suspension(reason="unpaid"), NOW)
        with stream(api, job) as again:
            assert again.response.status_code == 403


def test_the_command_line_follows_a_job_across_streams_that_end(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(reconnect, "say", said.append)
    with serve(event_stream_idle_s=0.05) as api, OrchardClient(api.url, api.key) as client:
        job = make_job(api.services.db, JobState.QUEUED, tenant_row(api))
        ends = 0

        def between(_: float) -> None:
            nonlocal ends
            ends += 1
            if ends <= 2:
                say(api, job, f"news {ends}")
            elif ends == 3:
                finish(api, job)

        messages = [found.message for found in follow_events(client, job.id, Reconnect(client, between))]
    assert messages == [f"Created fine-tuning job: {job.id}", "news 1", "news 2", "cancelled"]
    assert said == [], "an end in good order is no outage"


def test_following_asks_only_for_what_it_has_not_seen(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []
    genuine = OrchardClient.stream_events

    def noted(self: OrchardClient, job_id: str, after: str | None = None) -> Any:
        asked.append(after)
        return genuine(self, job_id, after)

    monkeypatch.setattr(OrchardClient, "stream_events", noted)
    with serve(event_stream_idle_s=0.05) as api, OrchardClient(api.url, api.key) as client:
        job = queued(api)
        followed = list(follow_events(client, job.id, Reconnect(client, lambda _: finish(api, job))))
    assert asked == [None, followed[0].id]


def test_streams_outlast_an_outage_of_the_database(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    is_away, tried = threading.Event(), threading.Event()

    def flaky(db: Database, cursors: dict[str, int]) -> Any:
        if is_away.is_set():
            tried.set()
            raise OperationalError("SELECT", {}, ConnectionError("the database is away"))
        return news_of(db, cursors)

    monkeypatch.setattr("api.event_feed.news_of", flaky)
    with serve() as api:
        job = queued(api)
        with stream(api, job) as one:
            one.frame()
            is_away.set()
            assert tried.wait(30)
            say(api, job, "meanwhile")
            is_away.clear()
            assert one.message() == "meanwhile"


def test_a_bug_of_the_reader_breaks_its_streams_off_and_no_later_one(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([RuntimeError("a bug")])

    def buggy(db: Database, cursors: dict[str, int]) -> Any:
        for failure in failures:
            raise failure
        return news_of(db, cursors)

    monkeypatch.setattr("api.event_feed.news_of", buggy)
    with serve() as api:
        job = queued(api)
        with pytest.raises(httpx2.RemoteProtocolError), stream(api, job) as one:
            one.frame()
        with stream(api, job) as later:
            assert later.message().startswith("Created")

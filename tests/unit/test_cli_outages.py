"""Following a job across a server that goes away, in a time that only passes while the command waits."""

import json

import httpx2
import pytest

from api.cli import reconnect as reconnect_module
from api.cli.client import OrchardClient
from api.cli.errors import CliError, ServerAway
from api.cli.follow import follow_events
from api.cli.reconnect import GIVE_UP_S, RECONNECT_S, Reconnect
from api.cli.watch import watch_job
from api.routes.event_stream import PING_EVERY_S
from tests.builders.fake_api import FakeApi, error, make_event, make_job, page

JOB = "/v1/fine_tuning/jobs/ftjob-1"
EVENTS = f"{JOB}/events"
OVER = 'event: end\ndata: {"status":"succeeded"}\n\n'


def nobody(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("connection refused", request=request)


def stream(*numbers: int, end: str = "") -> httpx2.Response:
    text = "".join(f"data: {json.dumps(make_event(n, f'event {n}'))}\n\n" for n in numbers)
    return httpx2.Response(200, text=text + end, headers={"content-type": "text/event-stream"})


@pytest.fixture(autouse=True)
def _one_try_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.cli.client.TRIES", 1)


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def client(api: FakeApi) -> OrchardClient:
    return OrchardClient("http://lab", "sk-x", api.transport)


class Hours:
    """A clock that goes on by what is waited."""

    def __init__(self) -> None:
        self.now = 0.0

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def hours() -> Hours:
    return Hours()


@pytest.fixture
def reconnect(client: OrchardClient, hours: Hours) -> Reconnect:
    return Reconnect(client, hours.wait, lambda: hours.now)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(reconnect_module, "say", lines.append)
    return lines


@pytest.mark.parametrize("answer", [nobody, error(503, "unavailable", "down")], ids=["no server", "503"])
def test_a_server_that_never_answered_ends_both_at_once(api, client, reconnect, hours, answer):
    api.routes = {f"GET {EVENTS}": answer, f"GET {JOB}": answer}
    with pytest.raises(ServerAway):
        list(follow_events(client, "ftjob-1", reconnect))
    with pytest.raises(ServerAway):
        watch_job(client, "ftjob-1", reconnect)
    assert hours.now == 0


def test_a_followed_stream_outlives_a_restart_that_is_said_once(api, client, reconnect, said):
    away = [nobody, httpx2.Response(502), error(503, "unavailable", "down"), httpx2.Response(504)]
    api.routes = {f"GET {EVENTS}": [stream(1), *away, stream(1, 2, end=OVER)]}
    assert [event.id for event in follow_events(client, "ftjob-1", reconnect)] == ["ftevent-1", "ftevent-2"]
    assert len(said) == 1


def test_a_connection_that_is_cut_and_back_at_once_is_not_worth_a_word(api, client, reconnect, said):
    api.routes = {f"GET {EVENTS}": [stream(1), stream(1, 2), stream(1, 2, 3, end=OVER)]}
    assert len(list(follow_events(client, "ftjob-1", reconnect))) == 3
    assert said == []


def test_a_watched_job_is_watched_on_after_a_restart(api, client, reconnect, said):
    away = [nobody, httpx2.Response(502), nobody, error(503, "unavailable", "down")]
    api.routes = {
        f"GET {JOB}": [make_job(status="running"), *away, make_job(status="running"), *away, make_job()],
        f"GET {EVENTS}": page(),
    }
    assert watch_job(client, "ftjob-1", reconnect, pause=lambda _: None).status == "succeeded"
    assert len(said) == 2, "once an outage"


def test_an_outage_that_stays_ends_both_with_the_usual_error(api, client, reconnect, hours, said):
    api.routes = {f"GET {EVENTS}": [stream(1), nobody], f"GET {JOB}": nobody}
    with pytest.raises(ServerAway, match="cannot be reached"):
        list(follow_events(client, "ftjob-1", reconnect))
    assert GIVE_UP_S <= hours.now <= GIVE_UP_S + RECONNECT_S
    with pytest.raises(ServerAway):
        watch_job(client, "ftjob-1", reconnect)
    assert len(said) == 1


def test_a_job_that_is_gone_after_a_restart_is_not_waited_for(api, client, reconnect, hours):
    api.routes = {f"GET {EVENTS}": [stream(1), nobody, error(404, "fine_tune_not_found", "no such job")]}
    with pytest.raises(CliError) as caught:
        list(follow_events(client, "ftjob-1", reconnect))
    assert caught.value.code == "fine_tune_not_found"
    assert hours.now == 2 * RECONNECT_S


def test_a_stream_that_not_even_pings_is_given_up(api, client):
    api.routes = {f"GET {EVENTS}": stream(end=OVER)}
    list(client.stream_events("ftjob-1"))
    assert api.requests[-1].extensions["timeout"]["read"] > PING_EVERY_S

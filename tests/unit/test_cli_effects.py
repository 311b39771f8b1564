"""`orchard webhooks` and `orchard usage`, against a server that answers as told."""

import json

import pytest
from typer.testing import CliRunner

from api.cli.main import app
from api.cli.session import Session
from tests.builders.fake_api import FakeApi, own_settings, page

PATH = "/v1/webhook_endpoints"
ENDPOINT = {"id": "we_1", "name": "ci", "url": "https://hooks.example/", "event_types": [], "x_orchard": {}}


@pytest.fixture(autouse=True)
def _own_settings(tmp_path, monkeypatch):
    own_settings(tmp_path, monkeypatch, "sk-tenant", "sk-admin")


@pytest.fixture
def api():
    return FakeApi()


@pytest.fixture
def orchard(api):
    def run(*args: str):
        result = CliRunner().invoke(app, list(args), obj=Session(transport=api.transport))
        assert result.exit_code == 0, result.stderr
        return result

    return run


def test_an_endpoint_is_made_for_every_end_unless_some_are_named(orchard, api):
    api.routes = {f"POST {PATH}": ENDPOINT | {"signing_secret": "whsec_x"}}
    made = orchard("webhooks", "create", "ci", "https://hooks.example/")
    assert "whsec_x" in made.stdout
    assert "cannot be shown again" in made.stderr
    orchard("webhooks", "create", "ci", "https://hooks.example/", "--event", "failed")
    first, second = api.sent(f"POST {PATH}")
    assert first["event_types"] == [f"fine_tuning.job.{end}" for end in ("succeeded", "failed", "cancelled")]
    assert second["event_types"] == ["fine_tuning.job.failed"]


def test_an_update_sends_only_what_is_named(orchard, api):
    api.routes = {f"POST {PATH}/we_1": ENDPOINT}
    orchard("webhooks", "update", "we_1", "--enable")
    orchard("webhooks", "update", "we_1", "--name", "cd", "--event", "cancelled")
    assert api.sent(f"POST {PATH}/we_1") == [
        {"x_orchard": {"enabled": True}},
        {"name": "cd", "event_types": ["fine_tuning.job.cancelled"]},
    ]


def test_secrets_rotate_samples_go_out_and_endpoints_end(orchard, api):
    api.routes = {
        f"POST {PATH}/we_1/rotate_secret": ENDPOINT | {"signing_secret": "whsec_y"},
        f"POST {PATH}/we_1/test": {"status_code": 204, "success": True},
        f"DELETE {PATH}/we_1": {"id": "we_1", "deleted": True},
    }
    assert "whsec_y" in orchard("webhooks", "rotate", "we_1", "--keep-old").stdout
    assert api.sent(f"POST {PATH}/we_1/rotate_secret") == [{"keep_old_secret_active_for_24_hours": True}]
    assert "204" in orchard("webhooks", "test", "we_1", "--event", "failed").stdout
    assert api.sent(f"POST {PATH}/we_1/test") == [{"event_type": "fine_tuning.job.failed"}]
    orchard("webhooks", "delete", "we_1")
    assert api.requests[-1].method == "DELETE"


def test_deliveries_show_how_they_stand(orchard, api):
    delivery = {"id": "wh_1", "job_id": "ftjob-1", "state": "pending", "attempts": 3, "last_status_code": 503}
    api.routes = {f"GET {PATH}/we_1/deliveries": page(delivery), f"GET {PATH}": page(ENDPOINT)}
    shown = orchard("webhooks", "deliveries", "we_1").stdout
    assert all(word in shown for word in ("wh_1", "ftjob-1", "pending", "503"))
    assert "hooks.example" in orchard("webhooks", "list").stdout


def results(start: int, tokens: int):
    amounts = {"tokens": tokens, "supervised_tokens": 1, "seat_seconds": 2.0}
    return {"start_time": start, "end_time": start + 60, "results": [{"key": "tiny", "used": amounts, "billable": {}}]}


def test_usage_follows_the_pages_and_leaves_out_empty_times(orchard, api):
    empty = {"start_time": 5, "end_time": 6, "results": []}
    pages = [
        {"data": [results(0, 111), empty], "has_more": True, "next_page": "7"},
        {"data": [results(7, 222)], "has_more": False, "next_page": None},
    ]
    api.routes = {"GET /v1/usage": pages}
    lines = json.loads(orchard("usage", "--by", "base", "--bucket", "hour", "-o", "json").stdout)
    assert [(line["key"], line["used"]["tokens"]) for line in lines] == [("tiny", 111), ("tiny", 222)]
    first, second = (request.url.params for request in api.requests)
    assert (first["group_by"], first["bucket"], second["start"]) == ("base", "hour", "7")
    assert int(first["end"]) - int(first["start"]) == 6 * 3_600 + 1


def test_other_tenants_usage_takes_the_operators_key(orchard, api):
    api.routes = {"GET /v1/admin/usage": {"data": [results(0, 5)], "has_more": False}}
    assert "tiny" in orchard("usage", "--by", "tenant").stdout
    orchard("usage", "--tenant", "acme")
    assert {request.headers["authorization"] for request in api.requests} == {"Bearer sk-admin"}
    assert api.requests[-1].url.params["tenant"] == "acme"

"""Webhook endpoints: made, changed, rotated and deleted by their tenant alone, and no secret shown twice."""

import base64
from dataclasses import replace

import pytest
from cryptography.fernet import Fernet
from fastapi.testclient import TestClient
from pydantic import ValidationError
from sqlalchemy import select

from api.app import create_app
from orchestrator.db.database import Database
from orchestrator.db.effect_tables import WebhookEndpointRow
from orchestrator.webhooks.addresses import EgressPolicy
from orchestrator.webhooks.endpoints import MAX_ENDPOINTS
from orchestrator.webhooks.lookups import Lookups
from orchestrator.webhooks.secrets import SealedForAnother, SecretBox
from tests.builders.live_api import Api, add_tenant

PATH = "/v1/webhook_endpoints"
NEW = {"name": "ci", "url": "https://hooks.example/ci", "event_types": ["fine_tuning.job.succeeded"]}


def rows(db: Database) -> list[WebhookEndpointRow]:
    with db.read() as session:
        return list(session.scalars(select(WebhookEndpointRow)))


def test_an_endpoint_is_made_listed_changed_and_deleted(web: TestClient):
    made = web.post(PATH, json=NEW).json()
    assert (made["object"], made["name"], made["url"]) == ("webhook_endpoint", "ci", NEW["url"])
    assert made["x_orchard"]["enabled"] is True

    one = f"{PATH}/{made['id']}"
    changed = web.post(one, json={"name": "cd", "event_types": ["fine_tuning.job.failed"] * 2}).json()
    assert (changed["name"], changed["event_types"], changed["url"]) == ("cd", ["fine_tuning.job.failed"], NEW["url"])
    assert web.get(one).json() == changed
    assert [item["id"] for item in web.get(PATH).json()["data"]] == [made["id"]]

    gone = web.delete(one).json()
    assert gone == {"id": made["id"], "object": "webhook_endpoint.deleted", "deleted": True}
    assert web.get(one).status_code == web.delete(one).status_code == 404
    assert web.get(PATH).json()["data"] == []


def test_the_secret_is_shown_when_it_is_made_and_never_again(web: TestClient, api: Api):
    made = web.post(PATH, json=NEW).json()
    secret = made["signing_secret"]
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32

    one = f"{PATH}/{made['id']}"
    answers = [web.get(PATH), web.get(one), web.post(one, json={"name": "x"}), web.get(f"{one}/deliveries")]
    assert all(secret not in answer.text and secret[6:] not in answer.text for answer in answers)
    assert secret.endswith(answers[1].json()["signing_secret_hint"].removeprefix("…"))

    web.delete(one)
    assert [(row.secret, row.old_secret) for row in rows(api.services.db)] == [(None, None)]


def test_with_a_key_only_sealed_secrets_are_stored(api: Api):
    from dataclasses import replace

    secret_box = SecretBox.of(Fernet.generate_key().decode())
    services = replace(api.services, secret_box=secret_box)
    with TestClient(create_app(services), headers=api.headers) as web:
        made = web.post(PATH, json=NEW).json()
        web.post(f"{PATH}/{made['id']}/rotate_secret", json={"keep_old_secret_active_for_24_hours": True})
    [row] = rows(services.db)
    assert made["signing_secret"] not in f"{row.secret}{row.old_secret}"
    assert secret_box.open(row.old_secret or "") == made["signing_secret"]


def test_a_rotation_ends_the_old_secret_at_once_unless_asked_for_a_day(web: TestClient, api: Api):
    made = web.post(PATH, json=NEW).json()
    path = f"{PATH}/{made['id']}/rotate_secret"

    at_once = web.post(path).json()
    assert at_once["signing_secret"] != made["signing_secret"]
    assert at_once["x_orchard"]["old_secret_until"] is None

    kept = web.post(path, json={"keep_old_secret_active_for_24_hours": True}).json()
    assert kept["x_orchard"]["old_secret_until"] == kept["updated_at"] + 86_400
    [row] = rows(api.services.db)
    assert SecretBox().open(row.old_secret or "") == at_once["signing_secret"]


WRONG: list[tuple[dict[str, object], str]] = [
    ({"url": "http://hooks.example/"}, "url"),
    ({"url": "https://127.0.0.1/"}, "url"),
    ({"url": "https://169.254.169.254/latest/meta-data"}, "url"),
    ({"url": ""}, "url"),
    ({"name": "a\nb"}, "name"),
    ({"event_types": []}, "event_types"),
    ({"event_types": ["batch.completed"]}, "event_types.0"),
    ({"secret": "whsec_mine"}, "secret"),
]


def test_a_wrong_field_is_named(web: TestClient):
    one = f"{PATH}/{web.post(PATH, json=NEW).json()['id']}"
    for changes, param in WRONG:
        for refused in (web.post(PATH, json=NEW | changes), web.post(one, json=changes)):
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    assert len(web.get(PATH).json()["data"]) == 1


def test_an_endpoint_is_switched_off_and_on(web: TestClient):
    one = f"{PATH}/{web.post(PATH, json=NEW).json()['id']}"
    off = web.post(one, json={"x_orchard": {"enabled": False}}).json()["x_orchard"]
    assert (off["enabled"], off["disabled_reason"]) == (False, "Its owner switched it off.")
    on = web.post(one, json={"x_orchard": {"enabled": True}}).json()["x_orchard"]
    assert (on["enabled"], on["disabled_at"], on["disabled_reason"]) == (True, None, None)


def test_a_change_that_changes_nothing_does_not_count_as_one(web: TestClient, api: Api):
    made = web.post(PATH, json=NEW).json()
    before = rows(api.services.db)[0].updated_at
    web.post(f"{PATH}/{made['id']}", json={"name": NEW["name"], "x_orchard": {"enabled": True}})
    assert rows(api.services.db)[0].updated_at == before


def test_the_number_of_endpoints_is_bounded(web: TestClient):
    for _ in range(MAX_ENDPOINTS):
        assert web.post(PATH, json=NEW).status_code == 200
    refused = web.post(PATH, json=NEW)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")


def test_another_tenants_endpoint_does_not_exist(web: TestClient, api: Api):
    one = f"{PATH}/{web.post(PATH, json=NEW).json()['id']}"
    _, key = add_tenant(api.services, "other")
    stranger = {"authorization": f"Bearer {key}"}
    assert web.get(PATH, headers=stranger).json()["data"] == []
    calls = [("GET", ""), ("POST", ""), ("DELETE", ""), ("POST", "/test"), ("POST", "/rotate_secret")]
    for method, path in [*calls, ("GET", "/deliveries")]:
        answer = web.request(method, one + path, headers=stranger, json={} if method == "POST" else None)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), path
    assert web.get(one).status_code == 200


def test_a_sample_to_an_address_we_do_not_reach_says_so(api: Api):
    leading_home = replace(api.services, lookups=Lookups(lambda _host, _port: ["127.0.0.1"]))
    with TestClient(create_app(leading_home), headers=api.headers) as web:
        made = web.post(PATH, json=NEW).json()
        answer = web.post(f"{PATH}/{made['id']}/test", json={"event_type": "fine_tuning.job.failed"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "webhook_no_answer")
    assert "private" in answer.json()["error"]["message"]


def test_the_event_types_are_openais_of_fine_tuning(web: TestClient):
    names = web.get("/v1/webhook_event_types").json()["data"]
    assert names == [f"fine_tuning.job.{end}" for end in ("succeeded", "failed", "cancelled")]


def test_a_vault_opens_what_older_keys_sealed_and_nothing_of_strangers():
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    sealed = SecretBox.of(old).seal("whsec_x")
    assert (
        SecretBox.of(f"{new}, {old}").open(sealed)
        == SecretBox.of(new).open(SecretBox.of(new).seal("whsec_x"))
        == "whsec_x"
    )
    assert SecretBox.of(new).open(SecretBox().seal("whsec_x")) == "whsec_x"  # stored before there was a key
    for stranger in (SecretBox(), SecretBox.of(new)):
        with pytest.raises(SealedForAnother, match="ORCHARD_SECRETS_KEY"):
            stranger.open(sealed)
    assert "whsec_x" not in repr(SecretBox.of(old)) + sealed
    assert old not in repr(SecretBox.of(old))


def test_a_key_that_is_none_is_refused_without_being_shown():
    with pytest.raises(ValueError, match="key 2 of 2 is not a Fernet key") as refused:
        SecretBox.of(f"{Fernet.generate_key().decode()},hunter2")
    assert "hunter2" not in str(refused.value)


def test_the_settings_refuse_such_a_key_without_printing_it(monkeypatch: pytest.MonkeyPatch):
    from orchestrator.settings import Settings

    for name, value in (("DATABASE_URL", "sqlite://"), ("STORAGE_URI", "x"), ("CATALOGUE", "x"), ("CACHE_DIR", "x")):
        monkeypatch.setenv(f"ORCHARD_{name}", value)
    monkeypatch.setenv("ORCHARD_SECRETS_KEY", "hunter2")
    with pytest.raises(ValidationError, match="secrets_key") as refused:
        Settings()
    assert "hunter2" not in str(refused.value)

    key = Fernet.generate_key().decode()
    monkeypatch.setenv("ORCHARD_SECRETS_KEY", key)
    monkeypatch.setenv("ORCHARD_WEBHOOK_ALLOW_PRIVATE", "true")
    settings = Settings()
    assert (settings.secret_box.keys, settings.egress_policy) == ((key,), EgressPolicy(allow_private=True))
    assert key not in repr(settings)

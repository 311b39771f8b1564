"""Tenants, keys, hosts and probes."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import JobState
from orchestrator.db.tables import ApiKeyRow
from orchestrator.errors import InvalidRequest
from orchestrator.tenancy.authenticate import authenticate
from orchestrator.tenancy.keys import KEY_PREFIX, create_admin_key, digest_of, list_admin_keys, revoke_admin_key
from tests.builders.live_api import Api
from tests.builders.rows import NOW, make_host, make_job

ROWS = b'{"prompt": "q", "completion": "a"}\n' * 4


def test_an_admin_makes_a_tenant_and_a_key_that_works(web: TestClient, api: Api) -> None:
    web.headers.update(api.admin_headers)
    tenant = web.post("/v1/admin/tenants", json={"slug": "new", "name": "New", "allowed_bases": ["tiny"]}).json()
    issued = web.post("/v1/admin/tenants/new/keys", json={"name": "laptop"}).json()

    assert issued["value"].startswith(KEY_PREFIX)
    assert issued["tenant_id"] == tenant["id"]
    header = {"authorization": f"Bearer {issued['value']}"}
    me = web.get("/v1/x/whoami", headers=header).json()
    assert (me["role"], me["tenant"]["slug"], me["key_id"]) == ("tenant", "new", issued["id"])
    assert [m["id"] for m in web.get("/v1/models", headers=header).json()["data"]] == ["tiny"]

    listed = web.get(f"/v1/admin/tenants/{tenant['id']}/keys")
    assert issued["value"] not in listed.text
    assert issued["value"].startswith(listed.json()["data"][0]["redacted_value"].removesuffix("…"))
    revoked = web.delete(f"/v1/admin/tenants/new/keys/{issued['id']}").json()
    assert revoked["revoked_at"] is not None
    assert web.get("/v1/models", headers=header).status_code == 401
    assert {t["slug"] for t in web.get("/v1/admin/tenants").json()["data"]} == {"acme", "new"}


def test_the_weight_of_a_tenant_goes_with_the_jobs_it_submits_from_then_on(web: TestClient, api: Api) -> None:
    file = web.post("/v1/files", files={"file": ("t.jsonl", ROWS)}, data={"purpose": "fine-tune"}).json()["id"]
    job = {"model": "tiny", "training_file": file}
    before = web.post("/v1/fine_tuning/jobs", json=job).json()["id"]
    changed = web.post("/v1/admin/tenants/acme", json={"weight": 7}, headers=api.admin_headers).json()
    after = web.post("/v1/fine_tuning/jobs", json=job).json()["id"]

    assert (changed["slug"], changed["weight"]) == ("acme", 7)
    listed = web.get("/v1/admin/tenants", headers=api.admin_headers).json()["data"]
    assert [(tenant["slug"], tenant["weight"]) for tenant in listed] == [("acme", 7)]
    with api.services.db.read() as session:
        specs = {row.id: row.spec for row in session.scalars(select(JobRow))}
    assert (specs[before]["fair_weight"], specs[after]["fair_weight"]) == (1, 7)


@pytest.mark.parametrize("weight", [0, 1_001, "much", "2", True])
def test_a_weight_out_of_bounds_is_refused(web: TestClient, api: Api, weight: object) -> None:
    for path, rest in (("", {"slug": "new", "name": "New"}), ("/acme", {})):
        answer = web.post(f"/v1/admin/tenants{path}", json=rest | {"weight": weight}, headers=api.admin_headers)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "weight")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"slug": "acme", "name": "x"}, "slug"),
        ({"slug": "No/Path", "name": "x"}, "slug"),
        ({"slug": "ok-", "name": "x"}, "slug"),
        ({"slug": "ok", "name": "x\n"}, "name"),
        ({"slug": "ok", "name": "\ud800"}, "name"),
        ({"slug": "ok", "name": "x", "allowed_bases": ["\ud800"]}, "allowed_bases.0"),
        ({"slug": "ok", "name": "x", "allowed_bases": ["nope"]}, "allowed_bases"),
    ],
)
def test_a_bad_tenant_is_refused(web: TestClient, api: Api, body: dict[str, object], param: str) -> None:
    headers = api.admin_headers | {"content-type": "application/json"}
    answer = web.post("/v1/admin/tenants", content=json.dumps(body), headers=headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_unknown_tenants_and_keys_are_404(web: TestClient, api: Api) -> None:
    missing = (("POST", "nope"), ("GET", "nope/keys"), ("DELETE", "nope/keys/key-0"), ("DELETE", "acme/keys/key-0"))
    for method, path in missing:
        body = {} if method == "POST" else None
        answer = web.request(method, f"/v1/admin/tenants/{path}", headers=api.admin_headers, json=body)
        assert answer.status_code == 404


def test_only_the_digest_of_a_key_is_stored_and_its_use_is_noted_now_and_then(api: Api) -> None:
    db = api.services.db
    for seconds in (0, 59, 60):
        authenticate(db, api.key, None, NOW + timedelta(seconds=seconds))
        with db.read() as session:
            row = session.scalars(select(ApiKeyRow).where(ApiKeyRow.digest == digest_of(api.key))).one()
        assert api.key not in {row.prefix, row.digest, row.name}
        assert row.last_used_at == NOW + timedelta(seconds=seconds // 60 * 60)


def test_admin_keys_are_listed_and_revoked_but_never_the_last(web: TestClient, api: Api) -> None:
    view, second = create_admin_key(api.services.db, "second", api.services.clock())
    headers = {"authorization": f"Bearer {second}"}
    listed = web.get("/v1/admin/keys", headers=headers)
    assert second not in listed.text
    first = next(key["id"] for key in listed.json()["data"] if key["id"] != view.id)
    assert {key["role"] for key in listed.json()["data"]} == {"admin"}

    assert web.delete(f"/v1/admin/keys/{first}", headers=headers).json()["revoked_at"] is not None
    assert web.get("/v1/admin/keys", headers=api.admin_headers).status_code == 401
    refused = web.delete(f"/v1/admin/keys/{view.id}", headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "last_admin_key")
    assert "orchard keys create-admin" in refused.json()["error"]["message"]
    assert web.delete(f"/v1/admin/keys/{first}", headers=headers).status_code == 200  # revoked before: nothing changes
    assert web.get("/v1/admin/keys", headers=headers).status_code == 200


def test_two_operators_who_revoke_each_others_key_leave_one(api: Api) -> None:
    db, now = api.services.db, api.services.clock()
    create_admin_key(db, "second", now)
    ids = [key.id for key in list_admin_keys(db)]
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(revoke_admin_key, db, key_id, now) for key_id in ids]
    refused = [future.exception() for future in futures if future.exception()]
    assert [error.code for error in refused if isinstance(error, InvalidRequest)] == ["last_admin_key"]
    assert sum(key.revoked_at is None for key in list_admin_keys(db)) == 1


def test_a_tenants_key_is_no_admin_key(web: TestClient, api: Api) -> None:
    mine = web.get("/v1/x/whoami").json()["key_id"]
    assert web.delete(f"/v1/admin/keys/{mine}", headers=api.admin_headers).status_code == 404
    assert web.get("/v1/x/whoami").status_code == 200


def test_the_access_log_names_key_tenant_and_role_and_no_secret(
    web: TestClient, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    who = web.get("/v1/x/whoami").json()
    web.get("/v1/admin/tenants", headers=api.admin_headers)
    web.get("/v1/files", headers={"authorization": "Bearer wrong"})
    text = capsys.readouterr().err
    lines = [json.loads(line) for line in text.splitlines() if '"request"' in line]
    assert [(line["path"], line["status"], line.get("role")) for line in lines] == [
        ("/v1/x/whoami", 200, "tenant"),
        ("/v1/admin/tenants", 200, "admin"),
        ("/v1/files", 401, None),
    ]
    assert (lines[0]["key_id"], lines[0]["tenant"]) == (who["key_id"], api.tenant.id)
    assert (lines[1]["tenant"], lines[1]["key_id"] != who["key_id"]) == (None, True)
    assert "key_id" not in lines[2]
    assert len({line["request_id"] for line in lines}) == 3
    assert not [secret for secret in (api.key, api.admin_key) if secret in text]


def test_the_events_of_a_job_name_whose_request_caused_them(web: TestClient, api: Api) -> None:
    file = web.post("/v1/files", files={"file": ("t.jsonl", ROWS)}, data={"purpose": "fine-tune"}).json()["id"]
    job = web.post("/v1/fine_tuning/jobs", json={"model": "tiny", "training_file": file}).json()["id"]
    for verb in ("pause", "pause", "resume", "cancel"):
        assert web.post(f"/v1/fine_tuning/jobs/{job}/{verb}").status_code == 200
    events = web.get(f"/v1/fine_tuning/jobs/{job}/events").json()["data"][::-1]
    by = {"key_id": web.get("/v1/x/whoami").json()["key_id"], "tenant": api.tenant.id, "role": "tenant"}
    assert [(event["message"], event["data"]) for event in events] == [
        (f"Created fine-tuning job: {job}", by),
        ("Pause was requested", by),
        ("Resumption was requested", by),
        ("Cancellation was requested", by),
    ]


def test_hosts_are_shown_with_the_jobs_on_them(web: TestClient, api: Api) -> None:
    host = make_host(api.services.db)
    job = make_job(api.services.db, JobState.RUNNING, host=host)
    make_host(api.services.db, "lost", ended_at=NOW)

    shown = web.get("/v1/admin/hosts", headers=api.admin_headers).json()["data"]
    assert [(h["state"], h["jobs"]) for h in shown] == [("ready", [job.id]), ("lost", [])]


def test_the_probes_tell_a_living_process_from_a_ready_one(web: TestClient) -> None:
    assert web.get("/healthz").json() == {"status": "ok"}
    answer = web.get("/readyz")  # the tables were made without Alembic
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "database": True, "schema_current": False})


def test_a_migrated_database_is_ready(web: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.db.readiness.is_current", lambda _: True)
    assert web.get("/readyz").json()["ready"] is True

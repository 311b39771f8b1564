"""Every error leaves in OpenAI's shape, with a request id and nothing of our insides."""

import asyncio

import pytest
from fastapi.testclient import TestClient
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from api.errors import STATUS
from api.request_context import RequestContext
from orchestrator.errors import Kind
from orchestrator.tenancy.authenticate import masked
from orchestrator.tenancy.keys import create_tenant_key, revoke_key
from tests.builders.live_api import Api, add_tenant

JOBS = "/v1/fine_tuning/jobs"
JSON = {"content-type": "application/json"}


def test_a_json_body_under_another_content_type_is_told_which_to_send(web: TestClient) -> None:
    answer = web.post(JOBS, content=b'{"model": "tiny"}', headers={"content-type": "text/plain"})
    assert answer.status_code == 400
    assert "Content-Type: application/json" in answer.json()["error"]["message"]


def test_every_kind_of_refusal_has_a_status() -> None:
    assert set(STATUS) == set(Kind)


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "code", "words"),
    [
        ("GET", "/v1/nothing", None, 404, "unknown_url", "Unknown request URL: GET /v1/nothing"),
        ("PUT", "/v1/files", None, 405, "method_not_supported", "Not allowed: PUT /v1/files"),
        ("POST", JOBS, b"{not json", 400, "invalid_value", "could not parse the JSON body"),
        ("POST", JOBS, b"[]", 400, "invalid_value", "must be a JSON object"),
        ("POST", JOBS, b"", 400, "missing_required_parameter", "has no body"),
        ("POST", JOBS, b'{"model": "\xff"}', 400, "invalid_value", "send UTF-8"),
        ("POST", JOBS, b"[" * 100_000, 400, "invalid_value", "no deep nesting"),
        ("POST", JOBS, b'{"seed": ' + b"9" * 5_000 + b"}", 400, "invalid_value", "no huge numbers"),
        ("POST", JOBS, b'{"model": "tiny"}', 400, "missing_required_parameter", "'training_file'"),
        ("POST", JOBS, b" " * 1_000_001, 413, "request_too_large", "longer than 1,000,000 bytes"),
        ("GET", "/v1/files/a%00b", None, 400, "invalid_value", "U+0000"),
        ("GET", JOBS + "?after=%00", None, 400, "invalid_value", "U+0000"),
        ("GET", JOBS + "?limit=0", None, 400, "invalid_value", "'limit': Input should be greater than or equal to 1"),
        ("GET", JOBS + "?after=ftjob-0", None, 400, "invalid_value", "ftjob-0"),
        ("GET", JOBS + "?metadata=x", None, 400, "invalid_value", "metadata[key]=value"),
        ("GET", JOBS + "/ftjob-0", None, 404, "fine_tune_not_found", "Could not find fine tune: ftjob-0"),
        ("GET", "/v1/models/org/none", None, 404, "model_not_found", "'org/none' does not exist"),
        ("POST", "/v1/files", b"x", 400, "missing_required_parameter", "multipart/form-data"),
    ],
)
def test_bad_requests_are_answered_in_openais_shape(
    web: TestClient, method: str, path: str, content: bytes | None, status: int, code: str | None, words: str
) -> None:
    answer = web.request(method, path, content=content, headers=JSON)

    assert answer.status_code == status
    assert answer.headers["x-request-id"].startswith("req_")
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"
    assert code is None or error["code"] == code


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (None, "didn't provide an API key"),
        ("Basic abc", "didn't provide an API key"),
        ("Bearer sk-orchard-0123456789abcdefghijkl", "Incorrect API key provided: sk-orchard-***ijkl"),
        ("Bearer short", "Incorrect API key provided: ***."),
    ],
)
def test_a_request_without_a_good_key_is_401(web: TestClient, header: str | None, words: str) -> None:
    del web.headers["authorization"]
    answer = web.get("/v1/models", headers={} if header is None else {"authorization": header})

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert words in answer.json()["error"]["message"]
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_revoked_key_is_refused_from_then_on(web: TestClient, api: Api) -> None:
    view, secret = create_tenant_key(api.services.db, "acme", "second", api.services.clock())
    header = {"authorization": f"Bearer {secret}"}
    assert web.get("/v1/models", headers=header).status_code == 200

    revoke_key(api.services.db, "acme", view.id, api.services.clock())
    answer = web.get("/v1/models", headers=header)
    assert answer.status_code == 401
    assert "was revoked" in answer.json()["error"]["message"]
    assert secret not in answer.text


def test_an_organization_header_must_agree_with_the_key(web: TestClient, api: Api) -> None:
    for claim, status in ((api.tenant.id, 200), ("acme", 200), ("other", 401)):
        assert web.get("/v1/models", headers={"OpenAI-Organization": claim}).status_code == status


def test_keys_reach_their_own_half_of_the_api(web: TestClient, api: Api) -> None:
    assert web.get("/v1/admin/tenants").status_code == 403
    assert web.get("/v1/files", headers=api.admin_headers).status_code == 403


def test_nobody_uploads_before_the_key_is_checked(web: TestClient) -> None:
    del web.headers["authorization"]
    assert web.post("/v1/files", content=b"x", headers={"content-type": "text/plain"}).status_code == 401


def test_a_failure_of_ours_is_a_500_that_tells_nothing(web: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("orchestrator.artifacts.models.list_models", fail)
    answer = web.get("/v1/models")

    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert answer.headers["x-request-id"] in answer.json()["error"]["message"]
    assert "secret detail" not in answer.text


def test_a_client_that_goes_away_in_mid_upload_is_no_failure_of_ours() -> None:
    async def upload(scope: Scope, receive: Receive, send: Send) -> None:
        async for _ in Request(scope, receive).stream():
            pass

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    sent: list[Message] = []

    async def keep(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "method": "POST", "path": "/v1/files", "query_string": b"", "headers": []}
    with capture_logs() as lines:
        asyncio.run(RequestContext(upload, uploads={"/v1/files": 100})(scope, gone, keep))
    assert sent == []
    assert [(line["event"], line["log_level"]) for line in lines] == [("request", "info")]


def test_a_masked_key_cannot_be_used() -> None:
    assert masked("sk-orchard-" + "a" * 39 + "tail") == "sk-orchard-***tail"
    assert masked("hunter2") == "***"


def test_another_tenants_tuned_model_and_file_report_are_404(web: TestClient, api: Api) -> None:
    _, key = add_tenant(api.services, "other")
    file = web.post("/v1/files", files={"file": ("a.jsonl", b"{}")}, data={"purpose": "fine-tune"}).json()["id"]
    other = {"authorization": f"Bearer {key}"}
    assert web.get(f"/v1/files/{file}/x/issues").status_code == 200
    assert web.get(f"/v1/files/{file}/x/issues", headers=other).status_code == 404

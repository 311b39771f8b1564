"""Whatever number or text a client sends, in any parameter of any operation, on both databases: no answer is a 5xx."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from api.app import create_app
from tests.builders.extremes import (
    BYTES,
    JSON_TEXTS,
    JSON_VALUES,
    NUMBERS,
    TEXTS,
    Operation,
    leaves,
    operations,
    places,
    variants,
    with_value,
)
from tests.builders.live_api import Api
from tests.builders.stock_client import ROWS

pytestmark = pytest.mark.slow
MAX_INT64 = 2**63 - 1
ENCODED = tuple(quote(text, safe="") for text in (*NUMBERS, *TEXTS)) + tuple(quote(raw, safe="") for raw in BYTES)
RAW = tuple(text.encode() for text in (*NUMBERS, *TEXTS)) + BYTES
VALUE = "the place of a value"


@pytest.fixture
def client(api: Api) -> Iterator[TestClient]:
    with TestClient(create_app(api.services)) as opened:
        yield opened


@pytest.fixture
def document(api: Api) -> dict[str, Any]:
    return create_app(api.services).openapi()


class Caller:
    """Sends good requests with one thing changed, and judges the answers."""

    def __init__(self, api: Api, client: TestClient) -> None:
        self.wrong: list[str] = []
        self._api, self._client = api, client
        form = {"files": {"file": ("a.jsonl", ROWS)}, "data": {"purpose": "fine-tune"}}
        file_id = self._client.post("/v1/files", headers=api.headers, **form).json()["id"]
        job = {"model": "tiny", "training_file": file_id}
        endpoint = {"name": "ci", "url": "https://hooks.example/ci", "event_types": ["fine_tuning.job.succeeded"]}
        upload = {"bytes": 1, "filename": "a.jsonl", "mime_type": "text/plain", "purpose": "fine-tune"}
        self.bodies: dict[str, dict[str, Any]] = {
            "/v1/fine_tuning/jobs": job,
            "/v1/x/estimate": job,
            "/v1/webhook_endpoints": endpoint,
            "/v1/uploads": upload,
            "/v1/uploads/{upload_id}/complete": {"part_ids": []},
            "/v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions": {"project_ids": ["tenant-1"]},
            "/v1/admin/tenants": {"slug": "acme", "name": "Acme"},
        }
        self.ids = {"file_id": file_id, "job_id": self._made("/v1/fine_tuning/jobs")}
        self.ids |= {"upload_id": self._made("/v1/uploads"), "endpoint_id": self._made("/v1/webhook_endpoints")}
        self.ids |= {"tenant_id": api.tenant.id, "model": "tiny", "fine_tuned_model_checkpoint": "ft:tiny:acme::x"}

    def _made(self, path: str) -> str:
        answer = self._client.post(path, headers=self._api.headers, json=self.bodies[path])
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def send(self, operation: Operation, **changes: Any) -> Response:
        """A good request, but for a path parameter, query string, header or content."""
        path = operation.path
        ids = self.ids | changes.get("ids", {})
        for parameter in operation.parameters:
            if parameter["in"] == "path":
                path = path.replace("{" + parameter["name"] + "}", ids.get(parameter["name"], "none"))
        admin = operation.path.startswith("/v1/admin")
        headers: dict[str, Any] = dict(self._api.admin_headers if admin else self._api.headers)
        content = changes.get("content")
        if content is None and operation.body is not None:
            content = json.dumps(self.bodies.get(operation.path, {}))
        if content is not None:
            headers["content-type"] = "application/json"
        url = f"http://testserver{path}?{changes.get('query', '')}"
        headers |= changes.get("headers", {})
        return self._client.request(operation.method, url, headers=headers, content=content)

    def check(self, operation: Operation, **changes: Any) -> None:
        """Note an answer that is a 5xx, or a refusal that is not in OpenAI's shape."""
        answer = self.send(operation, **changes)
        if answer.status_code >= 500 or (answer.status_code >= 400 and not _is_refusal(answer)):
            asked = f"{operation.method} {operation.path} {str(changes)[:200]}"
            self.wrong.append(f"{asked}: {answer.status_code} {answer.text[:200]}")


def _is_refusal(answer: Response) -> bool:
    error = answer.json().get("error", {})
    return error.keys() == {"message", "type", "param", "code"} and bool(error["message"])


@pytest.fixture
def caller(api: Api, client: TestClient) -> Iterator[Caller]:
    opened = Caller(api, client)
    yield opened
    assert not opened.wrong, "\n".join(opened.wrong)


def test_every_query_parameter_is_bounded(caller: Caller, document: dict[str, Any]) -> None:
    asked = [(op, p["name"]) for op in operations(document) for p in op.parameters if p["in"] == "query"]
    for operation, name in asked:
        keys = [name] if name != "metadata" else ["metadata", "metadata[a]"]
        for key in keys:
            for value in ENCODED:
                caller.check(operation, query=f"{quote(key)}={value}")
    for value in ENCODED:  # a key of a filter is a tenant's text, too
        jobs = next(op for op, name in asked if name == "metadata")
        caller.check(jobs, query=f"metadata[{value}]=a")
    assert len(asked) >= 25


def test_every_header_is_bounded(caller: Caller, document: dict[str, Any]) -> None:
    asked = [(op, p["name"]) for op in operations(document) for p in op.parameters if p["in"] == "header"]
    for operation, name in asked:
        for value in RAW if name != "openai-organization" or operation.path == "/v1/x/whoami" else RAW[-6:]:
            query = "stream=true" if name == "last-event-id" else ""
            if name == "last-event-id" and value.strip() == b"":
                continue  # an endless stream: the job is not over
            caller.check(operation, headers={name: value}, query=query)
    assert {name for _, name in asked} >= {"idempotency-key", "x-stainless-retry-count", "last-event-id"}


def test_every_id_of_a_path_is_bounded(caller: Caller, document: dict[str, Any]) -> None:
    asked = [(op, p["name"]) for op in operations(document) for p in op.parameters if p["in"] == "path"]
    for operation, name in asked:
        for value in ENCODED:
            caller.check(operation, ids={name: value or "%20"})
    assert len(asked) >= 25


def test_every_field_of_a_body_is_bounded(caller: Caller, document: dict[str, Any]) -> None:
    fields = 0
    for operation in operations(document):
        good = caller.bodies.get(operation.path, {})
        for at in places(document, operation.body or {}):
            fields += 1
            body = json.dumps(with_value(good, at, VALUE))
            for value in JSON_VALUES:
                caller.check(operation, content=body.replace(json.dumps(VALUE), value))
    assert fields >= 60


def test_keys_and_values_of_metadata_and_items_of_lists_are_bounded(caller: Caller, document: dict[str, Any]) -> None:
    by_path = {(op.method, op.path): op for op in operations(document)}
    jobs = by_path["POST", "/v1/fine_tuning/jobs"]
    inside = [
        (jobs, ("metadata",), '{%s: "a"}'),
        (jobs, ("metadata",), '{"a": %s}'),
        (jobs, ("x_orchard", "method"), '{"type": "lora", "target_modules": [%s]}'),
        (by_path["POST", "/v1/webhook_endpoints"], ("event_types",), "[%s]"),
        (by_path["POST", "/v1/uploads/{upload_id}/complete"], ("part_ids",), "[%s]"),
        (by_path["POST", "/v1/admin/tenants"], ("allowed_bases",), "[%s]"),
    ]
    for operation, at, form in inside:
        body = json.dumps(with_value(caller.bodies[operation.path], at, VALUE))
        for value in JSON_VALUES:
            caller.check(operation, content=body.replace(json.dumps(VALUE), form % value))


def test_no_number_of_a_submission_may_be_infinite_or_no_number(caller: Caller, document: dict[str, Any]) -> None:
    jobs = next(op for op in operations(document) if (op.method, op.path) == ("POST", "/v1/fine_tuning/jobs"))
    numbers = [
        at
        for at, form in leaves(document, jobs.body or {})
        if form.get("type") in {"number", "integer"} and "[]" not in at
    ]
    for at in dict.fromkeys(numbers):
        body = json.dumps(with_value(caller.bodies[jobs.path], tuple(at.removeprefix(".").split(".")), VALUE))
        for value in ("NaN", "Infinity", "-Infinity", "1e400", "1e999"):
            refused = caller.send(jobs, content=body.replace(json.dumps(VALUE), value))
            assert refused.status_code == 400, (at, value, refused.text)
            assert at.rpartition(".")[2] in refused.text, (at, value, refused.text)
    assert len(numbers) >= 15


def test_unknown_fields_are_refused_whatever_their_names(caller: Caller, document: dict[str, Any]) -> None:
    for operation in operations(document):
        good = caller.bodies.get(operation.path, {})
        objects = [at for at in places(document, operation.body or {}) if at[-1] in {"x_orchard", "method", "training"}]
        for at in [(), *objects] if operation.body else ():
            body = json.dumps(with_value(good, (*at, VALUE), 1))
            for value in JSON_TEXTS:
                caller.check(operation, content=body.replace(json.dumps(VALUE), value))


def test_every_field_of_an_upload_is_bounded(client: TestClient, api: Api) -> None:
    for value in RAW:
        text = value.decode("utf-8", "surrogateescape")
        for field in ("purpose", "expires_after[anchor]", "expires_after[seconds]"):
            head = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n' % field.encode()
            file = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}\r\n--x--\r\n'
            headers = api.headers | {"content-type": "multipart/form-data; boundary=x"}
            answer = client.post("/v1/files", content=head + value + b"\r\n" + file, headers=headers)
            assert answer.status_code < 500, (field, text[:80], answer.text)
        if b"\r" not in value and b'"' not in value:
            file = b'--x\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n{}\r\n--x\r\n' % value
            rest = b'Content-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--x--\r\n'
            answer = client.post("/v1/files", content=file + rest, headers=headers)
            assert answer.status_code < 500, ("filename", text[:80], answer.text)


@pytest.mark.parametrize("count", ["-1", str(2**31), str(10**22), "9" * 5_000, "1.5", "nan", ""])
def test_a_retry_count_beyond_its_bounds_is_a_400_that_names_it(caller: Caller, document: dict[str, Any], count: str):
    jobs = next(op for op in operations(document) if (op.method, op.path) == ("POST", "/v1/fine_tuning/jobs"))
    refused = caller.send(jobs, headers={"x-stainless-retry-count": count})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "x-stainless-retry-count")


def test_every_number_and_text_that_comes_in_has_a_bound_in_the_document(document: dict[str, Any]) -> None:
    """Ids of paths are bounded by the length of a URL, and one that is too long is nobody's: a 404."""
    unbounded = []
    for operation in operations(document):
        fields = [(p["name"], p["schema"]) for p in operation.parameters if p["in"] != "path"]
        forms = [(name, form) for name, schema in fields for form in variants(document, schema)]
        if operation.body is not None:
            forms += leaves(document, operation.body)
        for name, form in forms:
            where = f"{operation.method} {operation.path} {name} {form}"
            match form.get("type"):
                case "integer":
                    low, high = form.get("minimum", -(10**99)), form.get("maximum", 10**99)
                    unbounded += [] if -MAX_INT64 <= low <= high <= MAX_INT64 else [where]
                case "string":
                    unbounded += [] if {"enum", "const", "maxLength"} & form.keys() else [where]
    assert not unbounded, "\n".join(unbounded)

"""A server with scripted answers for tests of the CLI. It routes by method and path and keeps every request."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

Reply = Callable[[httpx2.Request], httpx2.Response]


def own_settings(folder: Path, monkeypatch: pytest.MonkeyPatch, key: str, admin_key: str | None = None) -> None:
    """Run commands in `folder` with these keys, and with no other setting of whoever runs the tests."""
    monkeypatch.chdir(folder)
    for name in ("ORCHARD_URL", "ORCHARD_ADMIN_KEY", "ORCHARD_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ORCHARD_CONFIG", str(folder / "config.toml"))
    monkeypatch.setenv("ORCHARD_API_KEY", key)
    if admin_key is not None:
        monkeypatch.setenv("ORCHARD_ADMIN_KEY", admin_key)


def make_job(job_id: str = "ftjob-1", status: str = "succeeded", **changes: Any) -> dict[str, Any]:
    """A job as the API shows it."""
    job: dict[str, Any] = {
        "id": job_id,
        "object": "fine_tuning.job",
        "status": status,
        "model": "tiny",
        "created_at": 1_700_000_000,
        "fine_tuned_model": f"ft:tiny:acme::{job_id}" if status == "succeeded" else None,
        "error": None,
        "x_orchard": {"state": status.upper(), "step": 4, "total_steps": 8},
    }
    return job | changes


def make_event(number: int, message: str = "hello", **changes: Any) -> dict[str, Any]:
    """An event as the API shows it."""
    event = {"id": f"ftevent-{number}", "created_at": 1_700_000_000, "level": "info", "message": message, "data": {}}
    return event | {"type": "message"} | changes


def page(*items: dict[str, Any], has_more: bool = False) -> dict[str, Any]:
    """A list object."""
    return {"object": "list", "data": list(items), "has_more": has_more}


def error(status: int, code: str, message: str, **headers: str) -> httpx2.Response:
    """An error in OpenAI's format."""
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
    return httpx2.Response(status, json=body, headers=headers)


class FakeApi:
    """Routes such as `routes["GET /v1/models"] = page(...)`. A list of answers is served in order; the last repeats."""

    def __init__(self, **routes: Any) -> None:
        self.routes: dict[str, Any] = routes
        self.requests: list[httpx2.Request] = []

    @property
    def transport(self) -> httpx2.MockTransport:
        """The transport for a Session or a client."""
        return httpx2.MockTransport(self._answer)

    def sent(self, route: str) -> list[Any]:
        """The JSON bodies sent to `METHOD /path`."""
        method, path = route.split(" ", 1)
        return [json.loads(r.content) for r in self.requests if (r.method, r.url.path) == (method, path)]

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        self.requests.append(request)
        answer = self.routes.get(f"{request.method} {request.url.path}")
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            answer = answer(request)
        if answer is None:
            return error(404, "not_found", f"no route {request.method} {request.url.path}")
        return answer if isinstance(answer, httpx2.Response) else httpx2.Response(200, json=answer)

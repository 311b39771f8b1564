"""Every route with an id in its path, asked by tenant B for a thing of tenant A: a 404 that tells nothing."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from fastapi.testclient import TestClient

from api.app import create_app
from orchestrator.artifacts.permissions import NewPermissions, grant
from orchestrator.db.database import Database
from orchestrator.db.states import JobState
from tests.builders.live_api import Api, add_tenant, make_api
from tests.builders.rows import make_checkpoint, make_job
from tests.builders.stock_client import ROWS, tenant_row

JOB = "/v1/fine_tuning/jobs/{job_id}"
UPLOAD = "/v1/uploads/{upload_id}"
ENDPOINT = "/v1/webhook_endpoints/{endpoint_id}"
PERMISSIONS = "/v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint:path}/permissions"
ANYTHING: dict[str, Any] = {}
ROUTES: dict[str, dict[str, Any]] = {
    "GET /v1/files/{file_id}": ANYTHING,
    "DELETE /v1/files/{file_id}": ANYTHING,
    "GET /v1/files/{file_id}/content": ANYTHING,
    "GET /v1/files/{file_id}/x/issues": ANYTHING,
    f"POST {UPLOAD}/parts": {"files": {"data": ("a", io.BytesIO(b"x"))}},
    f"POST {UPLOAD}/complete": {"json": {"part_ids": []}},
    f"POST {UPLOAD}/cancel": ANYTHING,
    f"GET {JOB}": ANYTHING,
    f"POST {JOB}/cancel": ANYTHING,
    f"POST {JOB}/pause": ANYTHING,
    f"POST {JOB}/resume": ANYTHING,
    f"GET {JOB}/why": ANYTHING,
    f"GET {JOB}/events": ANYTHING,
    f"GET {JOB}/x/issues": ANYTHING,
    f"GET {JOB}/checkpoints": ANYTHING,
    f"GET {JOB}/adapter": ANYTHING,
    f"POST {PERMISSIONS}": {"json": {"project_ids": ["tenant-1"]}},
    f"GET {PERMISSIONS}": ANYTHING,
    f"DELETE {PERMISSIONS}/{{permission_id}}": ANYTHING,
    "GET /v1/models/{model:path}": ANYTHING,
    "DELETE /v1/models/{model:path}": ANYTHING,
    "GET /v1/x/models/{model:path}/adapter": ANYTHING,
    f"GET {ENDPOINT}": ANYTHING,
    f"POST {ENDPOINT}": {"json": {"name": "mine now"}},
    f"DELETE {ENDPOINT}": ANYTHING,
    f"POST {ENDPOINT}/rotate_secret": ANYTHING,
    f"POST {ENDPOINT}/test": ANYTHING,
    f"GET {ENDPOINT}/deliveries": ANYTHING,
}
"""Route -> what a good request to it carries. A route with an id that is not here fails the test: list it."""

ADMIN = "/v1/admin/"
"""Routes below it need an admin key, and a tenant's key is a 403 whatever it asks for."""


def all_routes(api: Api) -> Iterator[RouteContext]:
    """Every endpoint of the application, below whichever router it stands."""
    routes = iter_route_contexts(create_app(api.services).routes)
    return (route for route in routes if isinstance(route.original_route, APIRoute))


def routes_with_ids(api: Api) -> set[str]:
    """Those of tenants, as `METHOD /path/{id}`."""
    mine = [route for route in all_routes(api) if "{" in route.path and not route.path.startswith(ADMIN)]
    return {f"{method} {route.path}" for route in mine for method in route.methods}


class Estate:
    """One of everything, all of the tenant `acme`."""

    def __init__(self, api: Api, web: TestClient) -> None:
        self._api, self._web, db, tenant = api, web, api.services.db, tenant_row(api)
        job = make_job(db, JobState.SUCCEEDED, tenant)
        make_checkpoint(db, job, 3)
        self.ids = {
            "job_id": job.id,
            "model:path": job.fine_tuned_model,
            "fine_tuned_model_checkpoint:path": f"{job.fine_tuned_model}:ckpt-step-3",
            "file_id": self._made("/v1/files", files={"file": ("a.jsonl", ROWS)}, data={"purpose": "fine-tune"}),
            "upload_id": self._made("/v1/uploads", json=_upload()),
            "endpoint_id": self._made("/v1/webhook_endpoints", json=_endpoint()),
        }
        friend, _ = add_tenant(api.services, "friend")
        name = self.ids["fine_tuned_model_checkpoint:path"]
        [permission] = grant(db, None, name, NewPermissions(project_ids=[friend.id]), api.services.clock())
        self.ids["permission_id"] = permission.id

    def _made(self, path: str, **body: Any) -> str:
        answer = self._web.post(path, headers=self._api.headers, **body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def url(self, route: str) -> str:
        path = route.partition(" ")[2]
        for name, value in self.ids.items():
            path = path.replace("{" + name + "}", value)
        assert "{" not in path, f"no {path} of tenant A: give Estate one"
        return path


def _upload() -> dict[str, Any]:
    return {"bytes": 1, "filename": "a.jsonl", "mime_type": "text/plain", "purpose": "fine-tune"}


def _endpoint() -> dict[str, Any]:
    return {"name": "ci", "url": "https://hooks.example/ci", "event_types": ["fine_tuning.job.succeeded"]}


@pytest.fixture
def web(api: Api) -> Iterator[TestClient]:
    with TestClient(create_app(api.services)) as client:
        yield client


def test_every_route_with_an_id_is_listed(sqlite_db: Database, tmp_path: Path) -> None:
    assert routes_with_ids(make_api(sqlite_db, tmp_path)) == ROUTES.keys()


def test_another_tenants_id_is_a_404_everywhere(web: TestClient, api: Api) -> None:
    estate, (_, key) = Estate(api, web), add_tenant(api.services, "intruder")
    stranger = {"authorization": f"Bearer {key}"}
    for route, body in ROUTES.items():
        method, url = route.partition(" ")[0], estate.url(route)
        answer = web.request(method, url, headers=stranger, **body)
        missing = web.request(method, url.replace(_changed(estate, url), "no-such"), headers=stranger, **body)

        assert answer.status_code == missing.status_code == 404, f"{route}: {answer.status_code} {answer.text}"
        assert answer.json()["error"]["code"] == missing.json()["error"]["code"], route


def test_the_owner_is_answered_everywhere(web: TestClient, api: Api) -> None:
    """Else the test above would pass on routes that answer nobody."""
    estate = Estate(api, web)
    last: Callable[[str], bool] = lambda route: route.startswith("DELETE")  # noqa: E731
    for route in sorted(ROUTES, key=last):
        answer = web.request(route.partition(" ")[0], estate.url(route), headers=api.headers, **ROUTES[route])
        assert answer.status_code != 404, f"{route}: {answer.text}"


def test_an_admin_route_is_a_403_for_every_tenant(web: TestClient, api: Api) -> None:
    routes = [route for route in all_routes(api) if route.path.startswith(ADMIN)]
    for route in routes:
        for method in route.methods:
            answer = web.request(method, route.path, headers=api.headers, json={"slug": "mine", "name": "mine"})
            assert answer.status_code == 403, f"{method} {route.path}: {answer.text}"
    assert len(routes) >= 6


ASKED_BY_SUSPENDED = {f"GET {JOB}/why", "GET /v1/x/whoami"}
"""What a suspended tenant may still ask: who it is, and why its jobs rest."""


def test_a_suspended_tenants_key_is_a_403_everywhere_but_where_it_asks_why(web: TestClient, api: Api) -> None:
    estate, asked = Estate(api, web), 0
    suspended = web.post("/v1/admin/tenants/acme/suspend", json={"reason": "Unpaid."}, headers=api.admin_headers)
    assert suspended.json()["suspension_reason"] == "Unpaid."
    for route in all_routes(api):
        for method in route.methods:
            name = f"{method} {route.path}"
            if route.path.startswith(ADMIN) or not route.path.startswith("/v1/"):
                continue
            answer = web.request(method, estate.url(name), headers=api.headers, **ROUTES.get(name, ANYTHING))
            if name in ASKED_BY_SUSPENDED:
                assert answer.status_code == 200, f"{name}: {answer.text}"
            else:
                error = answer.json()["error"]
                assert (answer.status_code, error["code"]) == (403, "tenant_suspended"), f"{name}: {answer.text}"
                assert "Unpaid." in error["message"]
            asked += 1
    assert asked > len(ROUTES)
    assert web.get("/v1/x/whoami", headers=api.headers).json()["tenant"]["suspended"]
    web.post("/v1/admin/tenants/acme/resume", headers=api.admin_headers)
    assert web.get("/v1/files", headers=api.headers).status_code == 200


def test_lists_hold_the_tenants_own_things_alone(web: TestClient, api: Api) -> None:
    Estate(api, web)
    _, key = add_tenant(api.services, "intruder")
    for path in ("/v1/files", "/v1/fine_tuning/jobs", "/v1/webhook_endpoints"):
        assert web.get(path, headers={"authorization": f"Bearer {key}"}).json()["data"] == []
    models = web.get("/v1/models", headers={"authorization": f"Bearer {key}"}).json()["data"]
    assert not [model for model in models if model["id"].startswith("ft:")]


def _changed(estate: Estate, url: str) -> str:
    """The longest id in the URL: what is exchanged for one that nobody has."""
    return max((value for value in estate.ids.values() if value in url), key=len)

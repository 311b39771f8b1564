"""Links from jobs and adapters to their page in MLflow."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from fastapi.testclient import TestClient
from mlflow import MlflowClient
from mlflow.utils.workspace_context import ServerWorkspaceContext
from typer.testing import CliRunner

from api.app import create_app
from api.cli.main import app
from orchestrator.db.database import Database
from orchestrator.db.states import JobState
from orchestrator.db.tables import TenantRow
from orchestrator.registry.mlflow_registry import MlflowRegistry
from orchestrator.settings import Settings
from tests.builders.live_api import Api, live_api, make_api
from tests.builders.mlflow_server import MlflowServer
from tests.builders.publications import make_publication
from tests.builders.rows import make_job

PUBLIC = "https://mlflow.example.test"
PAGE = f"{PUBLIC}/#/models/triage-tiny/versions/3?workspace=acme"


def published(api: Api, db: Database, **changes: str) -> str:
    """The id of a job of the tenant `acme` whose adapter is version 3 of `triage-tiny`."""
    with db.read() as session:
        tenant = session.get_one(TenantRow, api.tenant.id)
    fields = {"registry_name": "triage-tiny", "registry_version": "3", "suffix": "triage"} | changes
    return make_job(db, JobState.SUCCEEDED, tenant=tenant, **fields).id


@pytest.fixture
def api(sqlite_db: Database, tmp_path: Path) -> Iterator[Api]:
    with live_api(sqlite_db, tmp_path, mlflow_address=PUBLIC) as running:
        yield running


def test_a_job_and_its_model_name_their_page_in_the_registry(api: Api, sqlite_db: Database) -> None:
    job = published(api, sqlite_db)
    with httpx2.Client(base_url=api.url, headers=api.headers) as client:
        one = client.get(f"/v1/fine_tuning/jobs/{job}").json()
        [listed] = client.get("/v1/fine_tuning/jobs").json()["data"]
        model = client.get(f"/v1/models/{one['fine_tuned_model']}").json()
        models = client.get("/v1/models").json()["data"]
    views = [one, listed, model, models[-1]]
    assert [view["x_orchard"]["registry"]["url"] for view in views] == [PAGE] * 4


def test_orchard_show_and_adapters_print_the_page(
    api: Api, sqlite_db: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job = published(api, sqlite_db)
    monkeypatch.setenv("ORCHARD_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("ORCHARD_URL", api.url)
    monkeypatch.setenv("ORCHARD_API_KEY", api.key)
    for command in (["show", job], ["adapters"]):
        assert PAGE in CliRunner().invoke(app, command).stdout
    shown = json.loads(CliRunner().invoke(app, ["show", "triage", "-o", "json"]).stdout)
    assert shown["x_orchard"]["registry"]["url"] == PAGE


def test_an_api_that_was_not_told_mlflows_address_gives_no_link_instead_of_a_wrong_one(
    sqlite_db: Database, tmp_path: Path
) -> None:
    api = make_api(sqlite_db, tmp_path)
    job = published(api, sqlite_db)
    view = TestClient(create_app(api.services)).get(f"/v1/fine_tuning/jobs/{job}", headers=api.headers).json()
    assert view["x_orchard"]["registry"] == {"name": "triage-tiny", "version": "3", "url": None}


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ({}, None),
        ({"mlflow_uri": "http://service:secret@mlflow.internal:5000/"}, "http://mlflow.internal:5000"),
        ({"mlflow_uri": "http://mlflow.internal:5000", "mlflow_public_url": f"{PUBLIC}/ml/"}, f"{PUBLIC}/ml"),
    ],
)
def test_tenants_are_told_the_public_address_and_never_a_password(told: dict[str, str], address: str | None) -> None:
    needed = {"database_url": "sqlite://", "storage_uri": "file:///s", "catalogue": "/c", "cache_dir": "/d"}
    assert Settings(**(needed | told)).mlflow_address == address  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_link_names_what_mlflow_holds_and_the_page_names_no_password(
    mlflow_server: MlflowServer, sqlite_db: Database, tmp_path: Path
) -> None:
    with_password = mlflow_server.uri.replace("//", "//service:secret@")
    publication = make_publication(tmp_path, "acme")
    where = MlflowRegistry(with_password).publish(publication, tmp_path / "adapter")
    api = make_api(sqlite_db, tmp_path, mlflow_address=mlflow_server.uri)
    job = published(api, sqlite_db, registry_name=where.name, registry_version=where.version)
    view = TestClient(create_app(api.services)).get(f"/v1/fine_tuning/jobs/{job}", headers=api.headers).json()

    link = urlsplit(view["x_orchard"]["registry"]["url"])
    path, _, query = link.fragment.partition("?")
    _, models, name, versions, version = path.split("/")
    assert (f"{link.scheme}://{link.netloc}", models, versions) == (mlflow_server.uri, "models", "versions")
    with ServerWorkspaceContext(parse_qs(query)["workspace"][0]):
        page = MlflowClient(mlflow_server.uri, mlflow_server.uri).get_model_version(name, version).description
    assert f"mlflow.set_tracking_uri('{mlflow_server.uri}')" in page
    assert "secret" not in page

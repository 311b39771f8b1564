"""The README's commands for webhooks and usage, against a real server."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from api.cli.main import app
from api.cli.session import Session
from orchestrator.db.database import Database
from orchestrator.db.effect_tables import UsageRow
from tests.builders.live_api import Api, live_api
from tests.builders.rows import make_job, make_tenant

pytestmark = pytest.mark.slow


@pytest.fixture
def api(sqlite_db: Database, tmp_path: Path) -> Iterator[Api]:
    with live_api(sqlite_db, tmp_path) as running:
        yield running


@pytest.fixture
def orchard(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("ORCHARD_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("ORCHARD_URL", api.url)
    monkeypatch.setenv("ORCHARD_API_KEY", api.key)
    monkeypatch.setenv("ORCHARD_ADMIN_KEY", api.admin_key)

    def run(*args: str) -> Result:
        return CliRunner().invoke(app, list(args), obj=Session())

    return run


def test_an_endpoint_from_its_making_to_its_end(orchard: Callable[..., Result]):
    made = json.loads(orchard("webhooks", "create", "ci", "https://example.com/orchard", "-o", "json").stdout)
    assert made["signing_secret"].startswith("whsec_")
    off = orchard("webhooks", "update", made["id"], "--disable", "-o", "json")
    assert json.loads(off.stdout)["x_orchard"]["enabled"] is False
    assert "example.com/orchard" in orchard("webhooks", "list").stdout
    assert orchard("webhooks", "deliveries", made["id"]).exit_code == 0
    assert json.loads(orchard("webhooks", "rotate", made["id"], "-o", "json").stdout)["signing_secret"]
    assert orchard("webhooks", "delete", made["id"]).exit_code == 0

    gone = orchard("webhooks", "deliveries", "ci")
    assert gone.exit_code == 1
    assert "no endpoint called 'ci'" in gone.stderr

    private = orchard("webhooks", "create", "ci", "https://10.0.0.1/")
    assert private.exit_code == 1
    assert "private" in private.stderr


def test_an_endpoint_is_named_like_a_job(orchard: Callable[..., Result]):
    first, second = (
        json.loads(orchard("webhooks", "create", name, "https://example.com/orchard", "-o", "json").stdout)
        for name in ("ci", "ci-nightly")
    )
    off = orchard("webhooks", "update", "ci", "--disable", "-o", "json")
    assert json.loads(off.stdout)["id"] == first["id"], "a whole name wins over a longer one"
    rotated = orchard("webhooks", "rotate", "ci-n", "-o", "json")
    assert json.loads(rotated.stdout)["id"] == second["id"]
    for command in ("deliveries", "test"):
        assert orchard("webhooks", command, "c").exit_code == 2, "two begin so"
    refused = orchard("webhooks", "delete", "c")
    assert refused.exit_code == 2
    assert {first["id"], second["id"]} <= set(refused.stderr.replace("(", " ").replace(")", " ").split())
    assert orchard("webhooks", "delete", "ci-nightly").exit_code == 0
    assert [each["id"] for each in json.loads(orchard("webhooks", "list", "-o", "json").stdout)] == [first["id"]]


def test_usage_of_one_and_of_all(orchard: Callable[..., Result], sqlite_db: Database):
    job = make_job(sqlite_db, tenant=make_tenant(sqlite_db, "other"))
    now = datetime.now(UTC)
    with sqlite_db.write() as session:
        fields = {"tenant_id": job.tenant_id, "base_id": "tiny", "flavor": "cpu", "step_before": 0, "step": 1}
        minute = int(now.timestamp()) // 60
        session.add(UsageRow(job_id=job.id, attempt=1, minute=minute, metered_until=now, tokens=12_345, **fields))
    assert "12345" not in orchard("usage", "--by", "base").stdout
    assert "12345" in orchard("usage", "--by", "tenant").stdout
    assert "12345" in orchard("usage", "--tenant", "other", "--bucket", "hour", "--last", "2").stdout

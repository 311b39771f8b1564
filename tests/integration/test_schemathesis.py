"""Schemathesis over our OpenAPI document against a live server: no 5xx, and every answer as the document says.

It sends what the schemas allow and what they forbid, leaves out the key, tries methods that are not there, and follows
ids from one answer into the next request. About a minute in all.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select

from orchestrator.artifacts.permissions import NewPermissions, grant
from orchestrator.db.database import Database
from orchestrator.db.migrate import upgrade
from orchestrator.db.states import JobState
from orchestrator.db.tables import FileRow
from orchestrator.storage.layout import file_uri
from orchestrator.storage.objects import write_chunks
from tests.builders.live_api import Api, add_tenant, live_api
from tests.builders.publications import make_manifest, write_adapter
from tests.builders.rows import make_checkpoint, make_job
from tests.builders.stock_client import stock_client, tenant_row, upload

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SECONDS = 20  # of each of the three runs; every operation gets its turn
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "ignored_auth",
    "unsupported_method",
)


@dataclass(frozen=True)
class Target:
    """A running server, and one thing of each kind that its tenant owns."""

    api: Api
    ids: dict[str, str]
    folder: Path


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("schemathesis")
    url = f"sqlite:///{folder / 'orchard.sqlite'}"
    upgrade(url)
    db = Database(url)
    with live_api(db, folder, preview_wait_s=0) as api:
        yield Target(api, _one_of_each(api, folder), folder)
    db.dispose()


def _one_of_each(api: Api, folder: Path) -> dict[str, str]:
    db = api.services.db
    write_adapter(folder / "adapter")
    adapter = make_manifest(folder / "adapter").model_dump(mode="json")
    job = make_job(db, JobState.SUCCEEDED, tenant_row(api), adapter=adapter)
    _store(db, folder, job.training_file_id)
    make_checkpoint(db, job, 3)
    checkpoint = f"{job.fine_tuned_model}:ckpt-step-3"
    friend, _ = add_tenant(api.services, "friend")
    [permission] = grant(db, None, checkpoint, NewPermissions(project_ids=[friend.id]), api.services.clock())
    with stock_client(api) as client:
        begun = client.uploads.create(bytes=9, filename="a.jsonl", mime_type="text/plain", purpose="fine-tune")
        hook = client.webhooks.create(
            name="ci", url="https://hooks.example/ci", event_types=["fine_tuning.job.succeeded"]
        )
        return {
            "job_id": job.id,
            "model": job.fine_tuned_model or "",
            "file_id": upload(client, b"not json\n"),
            "upload_id": begun.id,
            "endpoint_id": hook.id,
            "fine_tuned_model_checkpoint": checkpoint,
            "permission_id": permission.id,
        }


def _store(db: Database, folder: Path, file_id: str) -> None:
    """Give a file that is only a row its bytes: whoever finds its id may ask for them."""
    with db.write() as session:
        row = session.scalars(select(FileRow).where(FileRow.id == file_id)).one()
        row.uri = file_uri(folder.as_uri(), row.tenant_id, row.id)
        write_chunks(row.uri, [bytes(row.bytes)])


def run(target: Target, key: str, config: str, *options: str) -> None:
    """One run of the command line; its report is the message of a failure."""
    (target.folder / "schemathesis.toml").write_text(config)
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{target.api.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {key}", "--checks", ",".join(CHECKS), "--max-time", str(SECONDS)),
        *("--seed", "1", "--generation-database", "none", "--warnings", "off", "--no-color", *options),
    ]
    done = subprocess.run(command, check=False, cwd=target.folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    counts = dict(re.findall(r"(Selected|Tested): +([0-9]+)", done.stdout))
    assert int(counts["Tested"]) == int(counts["Selected"]) > 0, done.stdout


def test_ids_that_it_makes_up_or_finds(target: Target) -> None:
    run(target, target.api.key, "", "--exclude-path-regex", "^/v1/admin")


def test_ids_of_the_tenants_own_things(target: Target) -> None:
    known = "\n".join(f'"path.{name}" = "{value}"' for name, value in target.ids.items())
    options = ("--include-path-regex", "{", "--exclude-method", "DELETE", "--exclude-path-regex", "^/v1/admin")
    run(target, target.api.key, f"[parameters]\n{known}\n", *options, "--phases", "coverage,fuzzing")


def test_the_operators_half(target: Target) -> None:
    run(target, target.api.admin_key, "", "--include-path-regex", "^/v1/admin")

"""`orchard` against the real API over a socket."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from sqlalchemy import select
from typer.testing import CliRunner

from api.cli.main import app
from orchestrator.db.database import Database
from orchestrator.db.states import JobState
from tests.builders.live_api import Api, live_api
from tests.builders.rows import make_job
from tests.builders.specs import sum_rows

pytestmark = pytest.mark.slow


@pytest.fixture
def api(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    with live_api(db, tmp_path) as running:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("ORCHARD_CONFIG", str(tmp_path / "config.toml"))
        monkeypatch.setenv("ORCHARD_URL", running.url)
        monkeypatch.setenv("ORCHARD_API_KEY", running.key)
        monkeypatch.setenv("ORCHARD_ADMIN_KEY", running.admin_key)
        (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sum_rows(12)))
        yield running


def orchard(*args: str, code: int = 0):
    result = CliRunner().invoke(app, list(args))
    assert result.exit_code == code, result.output
    return result


def data(*args: str):
    return json.loads(orchard(*args, "-o", "json").stdout)


def test_a_job_file_goes_through_dry_run_submit_list_show_logs_and_cancel(api: Api, tmp_path: Path) -> None:
    job = {"apiVersion": "orchard/v1", "kind": "FineTuneJob", "name": "sums", "model": "tiny"}
    job |= {"training_file": "train.jsonl", "method": {"rank": 4}, "training": {"n_epochs": 2, "batch_size": 4}}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))

    estimate = data("submit", "job.yaml", "--dry-run")
    assert (estimate["total_steps"], estimate["x_orchard"]["method"]["rank"], estimate["fits"]) == (6, 4, True)
    assert data("jobs") == []

    made = data("submit", "job.yaml", "--rank", "2", "--idempotency-key", "once")
    again = data("submit", "--file", made["training_file"], "--model", "tiny")
    assert (made["x_orchard"]["method"]["rank"], made["user_provided_suffix"]) == (2, "sums")
    assert [each["id"] for each in data("jobs")] == [again["id"], made["id"]]
    assert made["id"] in orchard("jobs").stdout
    assert data("show", made["id"])["x_orchard"]["state"] == "validating"
    assert "Created fine-tuning job" in orchard("logs", made["id"]).stdout
    orchard("cancel", made["id"])


def test_logs_follow_the_stream_to_its_end(api: Api, db: Database) -> None:
    job = make_job(db, JobState.SUCCEEDED, tenant=tenant_row(api, db))
    direct = [json.loads(line)["id"] for line in orchard("logs", job.id, "-o", "json").stdout.splitlines()]
    followed = [json.loads(line)["id"] for line in orchard("logs", job.id, "-f", "-o", "json").stdout.splitlines()]
    assert followed == direct
    assert data("watch", job.id)["status"] == "succeeded"


def test_every_bad_line_of_an_upload_is_shown(api: Api, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"messages": []}\nnot json\n')
    result = orchard("submit", "--file", "bad.jsonl", "--model", "tiny", code=1)
    assert "Line 1" in result.stderr
    assert "Line 2" in result.stderr


def test_a_file_goes_up_shows_what_is_wrong_comes_down_and_is_deleted(api: Api, tmp_path: Path) -> None:
    good = data("files", "upload", "train.jsonl")
    assert (good["status"], good["x_orchard"]["rows"]) == ("processed", 12)
    (tmp_path / "bad.jsonl").write_text('{"messages": []}\n{"text": "fine"}\nnot json\n')
    refused = orchard("files", "upload", "bad.jsonl", code=1)
    assert "Error (invalid_file): bad.jsonl" in refused.stderr.splitlines()[-1]
    told = [line for line in refused.stderr.splitlines() if line.startswith("Line ")]
    assert [line.split(":")[0].split(",")[0] for line in told] == ["Line 1", "Line 2", "Line 3"]
    shown = orchard("files", "issues", "bad.jsonl")
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["LINE", "1", "2", "3"]
    assert "3 problem(s): " in shown.stderr
    issues = data("files", "issues", "bad")
    assert [issue["line"] for issue in issues] == [1, 2, 3]
    orchard("files", "issues", "bad.jsonl", "report.jsonl")
    assert [json.loads(line)["id"] for line in (tmp_path / "report.jsonl").read_text().splitlines()] == [
        issue["id"] for issue in issues
    ]

    assert [each["filename"] for each in data("files", "list")] == ["bad.jsonl", "train.jsonl"]
    assert {"train.jsonl", good["id"], "processed"} <= set(orchard("files", "list").stdout.split())
    orchard("files", "download", "train.jsonl", "copy.jsonl")
    assert (tmp_path / "copy.jsonl").read_bytes() == (tmp_path / "train.jsonl").read_bytes()
    orchard("files", "delete", "bad.jsonl")
    assert [each["id"] for each in data("files", "list")] == [good["id"]]
    assert data("submit", "--file", good["id"], "--model", "tiny")["training_file"] == good["id"]


def test_a_large_file_goes_up_in_parts_and_is_the_same_file(
    api: Api, db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from api.cli import file_calls
    from orchestrator.db.upload_tables import UploadPartRow

    monkeypatch.setattr(file_calls, "WHOLE_BYTES", 500)
    monkeypatch.setattr(file_calls, "PART_BYTES", 300)
    content = (tmp_path / "train.jsonl").read_bytes()
    stored = data("files", "upload", "train.jsonl")
    assert stored["x_orchard"]["sha256"] == hashlib.sha256(content).hexdigest()
    with db.read() as session:
        sizes = sorted(part.bytes for part in session.scalars(select(UploadPartRow)))
    assert len(sizes) == -(-len(content) // 300) > 1
    assert sum(sizes) == len(content)


def test_another_tenants_file_is_not_there(api: Api) -> None:
    mine = data("files", "upload", "train.jsonl")["id"]
    orchard("tenants", "create", "garden")
    other = data("keys", "create", "garden", "--name", "ci")["value"]
    for command in ("issues", "delete", "download"):
        refused = orchard("--api-key", other, "files", command, mine, code=1)
        assert mine in refused.stderr
    assert data("--api-key", other, "files", "list") == []
    assert "no file called" in orchard("--api-key", other, "files", "issues", "train", code=1).stderr


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (("show", "ftjob-none"), 1, "ftjob-none"),
        (("submit", "--file", "train.jsonl", "--model", "secret"), 1, "secret"),
        (("submit", "--file", "train.jsonl", "--model", "tiny", "--quantization", "int8"), 1, "int8"),
        (("submit", "--file", "train.jsonl", "--model", "tiny", "--rank", "0"), 2, "rank"),
        (("--api-key", "sk-orchard-wrong", "jobs"), 4, "key"),
    ],
)
def test_a_refusal_is_one_line_that_names_what_was_wrong(api: Api, args: tuple[str, ...], code: int, told: str) -> None:
    result = orchard(*args, code=code)
    assert told in result.stderr.splitlines()[-1]
    assert result.stderr.splitlines()[-1].startswith("Error (")


def test_an_operator_makes_a_tenant_and_a_key_that_works_until_it_is_revoked(api: Api) -> None:
    assert data("tenants", "create", "garden", "--base", "tiny")["allowed_bases"] == ["tiny"]
    key = data("keys", "create", "garden", "--name", "ci")
    assert data("--api-key", key["value"], "whoami")["tenant"]["slug"] == "garden"
    assert [base["id"] for base in data("--api-key", key["value"], "bases")] == ["tiny"]
    assert key["value"] not in orchard("keys", "list", "garden", "-o", "json").stdout
    orchard("keys", "revoke", "garden", key["id"])
    orchard("--api-key", key["value"], "whoami", code=4)
    assert {tenant["slug"] for tenant in data("tenants", "list")} == {"acme", "garden"}
    assert data("hosts") == []


def test_doctor_knows_good_keys_and_a_server_whose_database_was_not_migrated(api: Api) -> None:
    found = json.loads(orchard("doctor", "-o", "json", code=1).stdout)
    verdicts = {check["name"]: check["verdict"] for check in found}
    assert (verdicts["server"], verdicts["key"], verdicts["admin key"]) == ("bad", "ok", "ok")


def tenant_row(api: Api, db: Database):
    from orchestrator.db.tables import TenantRow

    with db.read() as session:
        return session.get_one(TenantRow, api.tenant.id)

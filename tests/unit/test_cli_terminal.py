"""A tenant's strings on an operator's or a colleague's terminal: shown, and never obeyed."""

import json
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from api.cli.main import app
from api.cli.session import Session
from orchestrator.characters import UNREADABLE, escaped
from tests.builders.fake_api import FakeApi, error, make_event, make_job, own_settings, page

NASTY = "x\x1b]0;owned\x07\x1b[2J\x9b31m\u202egpj.exe\u2066\u2028\r\nError: forged"
ENDPOINT = {"id": "we_1", "name": NASTY, "url": NASTY, "event_types": [NASTY], "x_orchard": {"enabled": True}}
DELIVERY = {"id": "wh_1", "job_id": NASTY, "event_type": NASTY, "state": "failed", "last_error": NASTY}
TENANT = {"id": "tenant-1", "slug": "acme", "name": NASTY, "allowed_bases": [NASTY]}
HOST = {"id": "host-1", "base": NASTY, "flavor": NASTY, "state": "ready", "jobs": [NASTY]}
FILE = {"id": "file-1", "filename": NASTY, "bytes": 2, "status": "error", "status_details": NASTY}
ISSUE = {"id": "issue-1", "line": 1, "field": NASTY, "code": NASTY, "message": NASTY, "file": "training"}
REPORT = page(ISSUE) | {"issue_count": 1, "stored_count": 1, "codes": {NASTY: 1}}
JOB = make_job(
    "ftjob-1", "failed", metadata={NASTY: NASTY}, error={"code": NASTY, "message": NASTY}, user_provided_suffix=NASTY
) | {"x_orchard": {"queue_reason": NASTY, "state": NASTY}}
BUCKET = {"start_time": 1, "end_time": 2, "results": [{"key": NASTY, "used": {"tokens": 1}, "billable": {"tokens": 1}}]}
WHY = {"object": "why", "job_id": "ftjob-1", "blocked_by": NASTY, "since": 1, "unblocks": [NASTY]}
ROUTES: dict[str, Any] = {
    "GET /v1/fine_tuning/jobs": page(JOB),
    "GET /v1/fine_tuning/jobs/ftjob-1": JOB,
    "GET /v1/fine_tuning/jobs/ftjob-1/why": WHY,
    "GET /v1/fine_tuning/jobs/ftjob-1/events": page(make_event(1, NASTY), make_event(2, NASTY, level="warn")),
    "GET /v1/models": page(
        {"id": NASTY, "created": 1, "owned_by": NASTY, "x_orchard": {"kind": "base"}},
        {"id": f"ft:{NASTY}", "created": 1, "owned_by": NASTY},
    ),
    "GET /v1/webhook_endpoints": page(ENDPOINT),
    "GET /v1/webhook_endpoints/we_1/deliveries": page(DELIVERY),
    "GET /v1/admin/tenants": page(TENANT),
    "GET /v1/admin/tenants/acme/keys": page({"id": "key-1", "name": NASTY, "redacted_value": NASTY}),
    "POST /v1/admin/tenants/acme/suspend": TENANT | {"suspended_at": 1, "suspension_reason": NASTY},
    "POST /v1/admin/tenants/acme/resume": TENANT,
    "GET /v1/admin/keys": page({"id": "key-2", "name": NASTY, "redacted_value": NASTY}),
    "GET /v1/admin/hosts": page(HOST),
    "GET /v1/files": page(FILE),
    "GET /v1/files/file-1/x/issues": REPORT,
    "GET /v1/fine_tuning/jobs/ftjob-1/x/issues": REPORT,
    "GET /v1/x/whoami": {"role": "tenant", "tenant": TENANT},
    "GET /v1/usage": {"data": [BUCKET], "has_more": False},
}
COMMANDS = (
    *(["jobs"], ["show", "ftjob-1"], ["why", "ftjob-1"], ["watch", "ftjob-1"], ["logs", "ftjob-1"]),
    *(["bases"], ["adapters"], ["webhooks", "list"], ["webhooks", "deliveries", "we_1"]),
    *(["files", "list"], ["keys", "list-admin"], ["files", "issues", "file-1"], ["issues", "ftjob-1"]),
    *(["tenants", "suspend", "acme", "--reason", "x"], ["tenants", "resume", "acme"]),
    *(["tenants", "list"], ["keys", "list", "acme"], ["hosts"], ["whoami"], ["usage", "--by", "base"]),
)


@pytest.fixture(autouse=True)
def _own_settings(tmp_path, monkeypatch):
    own_settings(tmp_path, monkeypatch, "sk-of-acme")


def orchard(*args: str, routes: dict[str, Any] = ROUTES):
    result = CliRunner().invoke(app, list(args), obj=Session(transport=FakeApi(**routes).transport))
    assert result.exit_code in {0, 1, 3}, result.output
    return result


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_table_and_message_shows_control_characters_escaped(command: list[str]):
    result = orchard(*command)
    for stream in (result.stdout, result.stderr):
        assert not UNREADABLE.search(stream.replace("\n", ""))
        assert not any(line.startswith("Error: forged") for line in stream.splitlines())
    assert escaped(NASTY) in result.output.replace("\\\\", "\\")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("form", ["json", "yaml"])
def test_json_and_yaml_have_the_exact_values_and_nothing_that_a_terminal_obeys(command: list[str], form: str):
    result = orchard(*command, "-o", form)
    assert not UNREADABLE.search(result.stdout.replace("\n", ""))
    if form == "yaml":
        values: list[Any] = list(yaml.safe_load_all(result.stdout))
    elif command[0] == "logs":
        values = [json.loads(line) for line in result.stdout.splitlines()]
    else:
        values = [json.loads(result.stdout)]
    assert NASTY in strings_of(values)


def test_other_scripts_stay_readable_in_every_form():
    routes = {"GET /v1/admin/tenants": page(TENANT | {"name": "Größe 日本 👩\u200d💻", "allowed_bases": None})}
    for form in ("table", "json", "yaml"):
        assert "Größe 日本 👩\u200d💻" in orchard("tenants", "list", "-o", form, routes=routes).stdout


def test_an_error_of_the_server_and_the_issues_of_an_upload_are_shown_escaped(tmp_path):
    (tmp_path / "train.jsonl").write_text("{\n")
    told_of = FILE | {"x_orchard": {"issue_count": 1, "issues": [ISSUE | {"message": f"{NASTY} fine"}]}}
    routes = {"POST /v1/files": told_of, "GET /v1/files": page(told_of)}
    for command in (["submit", "--file", "train.jsonl", "--model", "tiny"], ["files", "upload", "train.jsonl"]):
        told = orchard(*command, routes=routes).stderr
        assert not UNREADABLE.search(told.replace("\n", ""))
        assert f"{escaped(NASTY)} fine" in told

    refused = {"GET /v1/fine_tuning/jobs": error(400, NASTY, NASTY)}
    told = orchard("jobs", routes=refused).stderr
    assert not UNREADABLE.search(told.replace("\n", ""))
    assert told.count("\n") == 1


def strings_of(value: Any) -> set[str]:
    """Every string inside the value, keys too."""
    match value:
        case str():
            return {value}
        case dict():
            return set().union(*(strings_of(part) for pair in value.items() for part in pair))
        case list():
            return set().union(*(strings_of(part) for part in value))
    return set()

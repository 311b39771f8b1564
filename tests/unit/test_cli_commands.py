import errno
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from api.cli.job_file import JobFile
from api.cli.main import app
from api.cli.profiles import profile_path, read_profiles
from api.cli.session import Session
from tests.builders.archives import archive
from tests.builders.fake_api import FakeApi, error, make_event, make_job, own_settings, page

JOBS = "/v1/fine_tuning/jobs"
KEY = "sk-secret-of-acme"


@pytest.fixture(autouse=True)
def _own_settings(tmp_path, monkeypatch):
    own_settings(tmp_path, monkeypatch, KEY)
    monkeypatch.setattr("api.cli.watch.INTERVAL_S", 0)
    monkeypatch.setattr("api.cli.reconnect.RECONNECT_S", 0)


@pytest.fixture
def api():
    return FakeApi()


@pytest.fixture
def orchard(api):
    def run(*args: str, **kwargs):
        return CliRunner().invoke(app, list(args), obj=Session(transport=api.transport), **kwargs)

    return run


def stored(name: str = "train.jsonl", status: str = "processed", details: str | None = None, issues: int = 0):
    bad = [{"line": n, "field": None, "code": "invalid_json", "message": "no JSON"} for n in range(1, issues + 1)]
    found = {"x_orchard": {"issues": bad[:100], "issue_count": issues}}
    return found | {"id": "file-1", "filename": name, "bytes": 9, "status": status, "status_details": details}


def test_submit_uploads_creates_and_sends_an_idempotency_key(orchard, api, tmp_path):
    (tmp_path / "train.jsonl").write_text("{}\n")
    api.routes = {"POST /v1/files": stored(), f"POST {JOBS}": make_job(status="queued")}
    result = orchard("submit", "--file", "train.jsonl", "--model", "tiny", "--rank", "4", "-o", "json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["id"] == "ftjob-1"
    [body] = api.sent(f"POST {JOBS}")
    assert (body["training_file"], body["model"], body["x_orchard"]["method"]["rank"]) == ("file-1", "tiny", 4)
    assert api.requests[-1].headers["idempotency-key"]
    assert b'name="purpose"\r\n\r\nfine-tune' in api.requests[0].content


def test_paths_in_a_job_file_are_relative_to_it(orchard, api, tmp_path):
    folder = tmp_path / "jobs"
    folder.mkdir()
    (folder / "train.jsonl").write_text("{}\n")
    job = {"apiVersion": "orchard/v1", "kind": "FineTuneJob", "model": "tiny", "training_file": "train.jsonl"}
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    api.routes = {"POST /v1/files": stored(), f"POST {JOBS}": make_job(status="queued")}
    assert orchard("submit", "jobs/job.yaml").exit_code == 0


def test_a_missing_data_file_is_a_usage_error_and_nothing_is_sent(orchard, api):
    result = orchard("submit", "--file", "gone.jsonl", "--model", "tiny")
    assert (result.exit_code, api.requests) == (2, [])
    assert "gone.jsonl" in result.stderr


def test_a_file_with_bad_lines_is_reported_and_no_job_is_made(orchard, api, tmp_path):
    (tmp_path / "train.jsonl").write_text("{\n")
    api.routes = {
        "POST /v1/files": stored(status="error", details="1 bad line", issues=1),
    }
    result = orchard("submit", "--file", "train.jsonl", "--model", "tiny")
    assert result.exit_code == 1
    assert "Line 1: no JSON [invalid_json]\n" in result.stderr
    assert "Error (invalid_training_file): train.jsonl" in result.stderr
    assert api.sent(f"POST {JOBS}") == []


def test_a_bad_validation_file_is_called_one(orchard, api, tmp_path):
    (tmp_path / "train.jsonl").write_text("{}\n")
    (tmp_path / "check.jsonl").write_text("{\n")
    api.routes = {
        "POST /v1/files": [stored(), stored(status="error", details="1 bad line")],
    }
    result = orchard("submit", "--file", "train.jsonl", "--validation-file", "check.jsonl", "--model", "tiny")
    assert "Error (invalid_validation_file): check.jsonl" in result.stderr


def test_a_refused_submission_leaves_no_upload_behind(orchard, api, tmp_path):
    (tmp_path / "train.jsonl").write_text("{}\n")
    api.routes = {"POST /v1/files": stored(), f"POST {JOBS}": error(400, "model_not_available", "no such base")}
    assert orchard("submit", "--file", "train.jsonl", "--model", "tiny").exit_code == 1
    assert (api.requests[-1].method, api.requests[-1].url.path) == ("DELETE", "/v1/files/file-1")


def test_the_same_key_twice_sends_the_same_body(orchard, api, tmp_path):
    (tmp_path / "train.jsonl").write_text("{}\n")
    digest = hashlib.sha256(b"{}\n").hexdigest()
    other = stored() | {"id": "file-2", "x_orchard": {"sha256": "0" * 64}}
    expiring = stored() | {"id": "file-3", "expires_at": 9, "x_orchard": {"sha256": digest}}
    known = page(other, expiring, stored() | {"x_orchard": {"sha256": digest}})
    api.routes = {"GET /v1/files": [page(), known], "POST /v1/files": stored(), f"POST {JOBS}": make_job()}
    for _ in range(2):
        result = orchard("submit", "--file", "train.jsonl", "--model", "tiny", "--idempotency-key", "k")
        assert result.exit_code == 0, result.stderr
    first, second = api.sent(f"POST {JOBS}")
    assert first == second
    assert [request.method for request in api.requests] == ["GET", "POST", "POST", "GET", "POST"]


def test_a_dry_run_shows_the_estimate_and_leaves_nothing_behind(orchard, api, tmp_path):
    (tmp_path / "train.jsonl").write_text("{}\n")
    api.routes = {
        "POST /v1/files": stored(),
        "POST /v1/x/estimate": {"total_steps": 12, "memory_bytes": 5},
        "DELETE /v1/files/file-1": {"deleted": True},
    }
    result = orchard("submit", "--file", "train.jsonl", "--model", "tiny", "--dry-run", "-o", "json")
    assert json.loads(result.stdout)["total_steps"] == 12
    assert api.requests[-1].method == "DELETE"
    assert api.sent(f"POST {JOBS}") == []


def test_a_create_that_the_network_breaks_is_repeated_with_the_same_key(orchard, api):
    api.routes = {f"POST {JOBS}": [httpx2.Response(503), make_job(status="queued")]}
    assert orchard("submit", "--file", "file-1", "--model", "tiny").exit_code == 0
    first, second = (request.headers["idempotency-key"] for request in api.requests)
    assert first == second


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [(401, "invalid_api_key", 4), (403, "admin_only", 4), (404, "fine_tune_not_found", 1), (400, "bad_rank", 1)],
)
def test_a_refusal_is_one_line_with_its_code_and_a_stable_exit_code(orchard, api, status, code, exit_code):
    api.routes = {f"GET {JOBS}/ftjob-1": error(status, code, "what went wrong")}
    result = orchard("show", "ftjob-1")
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert result.stderr.startswith(f"Error ({code}): what went wrong")
    assert result.stderr.count("\n") == 1
    assert KEY not in result.output


def test_quota_has_its_own_exit_code_and_is_not_tried_again(orchard, api):
    refused = error(429, "insufficient_quota", "4 of 4 jobs are live", **{"x-should-retry": "false"})
    api.routes = {f"POST {JOBS}": refused}
    assert orchard("submit", "--file", "file-1", "--model", "tiny").exit_code == 5
    assert len(api.requests) == 1


def test_a_server_that_answers_no_json_is_reported_with_its_request_id(orchard, api):
    api.routes = {f"GET {JOBS}/ftjob-1": httpx2.Response(500, text="<html>", headers={"x-request-id": "req-7"})}
    result = orchard("show", "ftjob-1")
    assert result.exit_code == 1
    assert "req-7" in result.stderr


def test_without_a_key_the_command_says_how_to_get_one(orchard, monkeypatch):
    monkeypatch.delenv("ORCHARD_API_KEY")
    result = orchard("jobs")
    assert result.exit_code == 4
    assert "orchard login" in result.stderr


@pytest.mark.parametrize("key", ["sk-caf\u00e9", "sk-broken\nline"])
def test_a_key_that_cannot_be_one_is_refused_without_being_shown(orchard, monkeypatch, key):
    monkeypatch.setenv("ORCHARD_API_KEY", key)
    result = orchard("jobs")
    assert (result.exit_code, result.stderr.count("\n")) == (4, 1)
    assert "sk-" not in result.output.replace("sk-orchard-", "")


def test_an_unreachable_server_is_one_line():
    result = CliRunner().invoke(app, ["--url", "http://127.0.0.1:9", "jobs"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error (unreachable): ")
    assert result.stderr.count("\n") == 1


def test_an_address_without_http_is_not_tried_again(capfd):
    result = CliRunner().invoke(app, ["--url", "localhost:8000", "jobs"])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "protocol" in result.stderr
    assert capfd.readouterr().err == ""


STRANGERS = {
    "a proxy's page": httpx2.Response(200, text="<html>Sign in</html>"),
    "another shape": httpx2.Response(200, json={"hello": "world"}),
    "a list": httpx2.Response(200, json=["hello"]),
    "bytes": httpx2.Response(200, content=b"\xff\xfe\x00"),
    "a redirect": httpx2.Response(301, headers={"location": "https://lab.example/"}),
    "no such page": httpx2.Response(404, text="<html>Not found</html>"),
}


@pytest.mark.parametrize("answer", STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize("command", [["jobs"], ["show", "ftjob-1"], ["logs", "-f", "ftjob-1"], ["usage"]], ids=" ".join)
def test_whoever_is_no_orchard_server_is_called_so_in_one_line_with_the_address(orchard, api, command, answer):
    api.routes = dict.fromkeys(
        (f"GET {JOBS}", f"GET {JOBS}/ftjob-1", f"GET {JOBS}/ftjob-1/events", "GET /v1/usage"), answer
    )
    result = orchard("--url", "http://lab", *command)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith("Error (not_orchard): http://lab")
    assert "is not an Orchard server" in result.stderr


def test_doctor_does_not_take_any_page_for_a_server(orchard, api):
    api.routes = {"GET /readyz": httpx2.Response(200, text="<html>")}
    verdicts = {check["name"]: check["verdict"] for check in json.loads(orchard("doctor", "-o", "json").stdout)}
    assert verdicts["server"] == "bad"


def test_a_file_that_may_not_be_read_is_one_line_and_leaves_no_upload_behind(orchard, api, tmp_path, monkeypatch):
    train, locked = tmp_path / "train.jsonl", tmp_path / "locked.jsonl"
    for path in (train, locked):
        path.write_text("{}\n")
    api.routes = {"POST /v1/files": stored(), "DELETE /v1/files/file-1": {"deleted": True}}
    _refuse_to_open(monkeypatch, locked)
    result = orchard("submit", "--file", str(train), "--validation-file", str(locked), "--model", "tiny")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(f"Error (os_error): {locked}: Permission denied. Try: ")
    assert (api.requests[-1].method, api.requests[-1].url.path) == ("DELETE", "/v1/files/file-1")


def _refuse_to_open(monkeypatch, locked):
    """Root may read whatever its mode, and tests run as root, too."""
    opened = Path.open

    def refuse(path, *args, **kwargs):
        if path == locked:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)


def test_a_download_to_where_no_folder_can_be_is_one_line(orchard, api, tmp_path):
    (tmp_path / "file").touch()
    api.routes = {f"GET {JOBS}/ftjob-1/adapter": httpx2.Response(200, content=b"")}
    result = orchard("download", "ftjob-1", "file/out")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert result.stderr.startswith("Error (os_error): ")


def test_a_reader_that_has_seen_enough_is_no_failure(orchard, api):
    def leave(request):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    api.routes = {f"GET {JOBS}": leave}
    assert "Error" not in orchard("jobs").output


def test_jobs_follow_the_pages_up_to_the_limit(orchard, api):
    pages = [page(make_job("ftjob-1"), make_job("ftjob-2"), has_more=True), page(make_job("ftjob-3"), has_more=True)]
    api.routes = {f"GET {JOBS}": pages}
    result = orchard("jobs", "--limit", "3", "-o", "yaml")
    assert [job["id"] for job in yaml.safe_load(result.stdout)] == ["ftjob-1", "ftjob-2", "ftjob-3"]
    assert [request.url.params.get("after") for request in api.requests] == [None, "ftjob-2"]


def test_the_table_shows_why_a_job_waits(orchard, api):
    waiting = make_job(status="queued", x_orchard={"state": "QUEUED", "queue_reason": "no [free] seat"})
    api.routes = {f"GET {JOBS}": page(waiting)}
    assert "no [free] seat" in orchard("jobs").stdout


@pytest.mark.parametrize(("status", "exit_code"), [("succeeded", 0), ("failed", 3), ("cancelled", 3)])
def test_watch_prints_each_event_once_and_ends_as_the_job_ended(orchard, api, status, exit_code):
    step = make_event(2, "Step 1/8: training loss=0.50", type="metrics", data={"train_loss": 0.5})
    api.routes = {
        f"GET {JOBS}/ftjob-1": [make_job(status="running"), make_job(status="running"), make_job(status=status)],
        f"GET {JOBS}/ftjob-1/events": [page(make_event(1, "started")), page(step, make_event(1, "started"))],
    }
    result = orchard("watch", "ftjob-1", "-o", "json")
    assert result.exit_code == exit_code
    assert json.loads(result.stdout)["status"] == status
    assert result.stderr.count("started") == 1
    assert result.stderr.index("started") < result.stderr.index("Step 1/8")


def test_logs_are_oldest_first(orchard, api):
    api.routes = {f"GET {JOBS}/ftjob-1/events": page(make_event(2, "second"), make_event(1, "first"))}
    lines = orchard("logs", "ftjob-1").stdout.splitlines()
    assert [line.split()[-1] for line in lines] == ["first", "second"]


def test_logs_follow_reconnects_and_prints_each_event_once(orchard, api):
    def stream(*numbers: int) -> httpx2.Response:
        text = "".join(f"data: {json.dumps(make_event(n, f'event {n}'))}\n\n" for n in numbers)
        text += 'event: end\ndata: {"status":"succeeded"}\n\n' if 3 in numbers else ""
        return httpx2.Response(200, text=": hello\n\n" + text, headers={"content-type": "text/event-stream"})

    api.routes = {
        f"GET {JOBS}/ftjob-1/events": [stream(1, 2), stream(1, 2, 3)],
    }
    result = orchard("logs", "ftjob-1", "-f", "-o", "json")
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == [f"ftevent-{n}" for n in (1, 2, 3)]


def test_following_another_tenants_job_ends_with_not_found(orchard, api):
    assert orchard("logs", "ftjob-9", "-f").exit_code == 1


def test_bases_and_adapters_are_told_apart(orchard, api):
    base = {"id": "tiny", "created": 0, "owned_by": "orchard", "x_orchard": {"quantizations": ["nf4", "none"]}}
    details = {"job": "ftjob-1", "registry": {"name": "acme.triage", "version": "3"}}
    tuned = {"id": "ft:tiny:a::1", "created": 1, "owned_by": "a", "x_orchard": details}
    api.routes = {"GET /v1/models": page(base, tuned)}
    assert [base["id"] for base in json.loads(orchard("bases", "-o", "json").stdout)] == ["tiny"]
    assert [tuned["id"] for tuned in json.loads(orchard("adapters", "-o", "json").stdout)] == ["ft:tiny:a::1"]
    assert "nf4, none" in orchard("bases").stdout
    assert {"acme.triage", "ftjob-1"} <= set(orchard("adapters").stdout.split())


def test_a_table_cuts_nothing_and_pads_no_line_and_times_are_dates(orchard, api):
    waiting = make_job("ftjob-" + "0" * 24, x_orchard={"queue_reason": "x" * 300})
    api.routes = {f"GET {JOBS}": page(waiting, make_job()), f"GET {JOBS}/ftjob-1": make_job()}
    heading, first, second = orchard("jobs").stdout.splitlines()
    assert ("ftjob-" + "0" * 24 in first, first.endswith("x" * 300)) == (True, True)
    assert max(len(heading), len(second)) < 200
    assert "2023-11-1" in orchard("show", "ftjob-1").stdout


def test_an_adapter_is_found_by_its_name(orchard, api, tmp_path):
    api.routes = {
        f"GET {JOBS}": page(make_job("ftjob-1")),
        f"GET {JOBS}/ftjob-1/adapter": httpx2.Response(
            200, content=archive(("ftjob-1/peft/adapter_config.json", b"{}"))
        ),
    }
    result = orchard("download", "ft:tiny:acme::ftjob-1", "out", "-o", "json")
    assert json.loads(result.stdout)["files"] == ["peft/adapter_config.json"]
    assert (tmp_path / "out/peft/adapter_config.json").read_text() == "{}"
    assert orchard("download", "ft:tiny:acme::other", "out2").exit_code == 1


def test_admin_commands_use_the_admin_key_and_show_a_new_key_once(orchard, api, monkeypatch):
    monkeypatch.setenv("ORCHARD_ADMIN_KEY", "sk-admin")
    listed = {"id": "key-1", "name": "ci", "prefix": "sk-abc"}
    api.routes = {
        "POST /v1/admin/tenants/acme/keys": listed | {"value": "sk-new"},
        "GET /v1/admin/tenants/acme/keys": page(listed),
        "DELETE /v1/admin/tenants/acme/keys/key-1": {"deleted": True},
    }
    assert "sk-new" in orchard("keys", "create", "acme", "--name", "ci").stdout
    assert "sk-new" not in orchard("keys", "list", "acme").output
    assert orchard("keys", "revoke", "acme", "key-1").exit_code == 0
    assert {request.headers["authorization"] for request in api.requests} == {"Bearer sk-admin"}


def test_a_job_is_found_by_its_name_and_the_newest_wins(orchard, api):
    newest, older = (make_job(f"ftjob-{n}", user_provided_suffix="triage") for n in (2, 1))
    api.routes = {f"GET {JOBS}": page(newest, older), f"GET {JOBS}/ftjob-2": newest}
    assert json.loads(orchard("show", "triage", "-o", "json").stdout)["id"] == "ftjob-2"
    assert orchard("show", "nobody").exit_code == 1


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
def test_what_is_asked_of_a_job_is_posted_and_said(orchard, api, verb):
    api.routes = {f"POST {JOBS}/ftjob-1/{verb}": make_job(status="pausing")}
    result = orchard(verb, "ftjob-1", "-o", "json")
    assert json.loads(result.stdout)["status"] == "pausing"
    assert "is asked to" in result.stderr


def test_why_shows_the_constraint_and_when_it_began(orchard, api):
    answer = {"job": "ftjob-1", "constraint": "seat", "reason": "No seat.", "since": 1_700_000_000, "position": 3}
    api.routes = {f"GET {JOBS}/ftjob-1/why": answer}
    shown = orchard("why", "ftjob-1").stdout
    assert "No seat." in shown
    assert "2023-11-1" in shown
    assert json.loads(orchard("why", "ftjob-1", "-o", "json").stdout) == answer


def test_a_checkpoint_is_downloaded_by_its_name(orchard, api, tmp_path):
    name = "ft:org/tiny:acme::abc:ckpt-step-3"
    tar = archive(("ftckpt_1/peft/adapter_config.json", b"{}"))
    api.routes = {f"GET /v1/x/models/{name}/adapter": httpx2.Response(200, content=tar)}
    orchard("download", name, str(tmp_path / "out"))
    assert (tmp_path / "out/peft/adapter_config.json").read_bytes() == b"{}"
    assert b"ft%3Aorg%2Ftiny" in api.requests[0].url.raw_path


def test_an_id_with_slashes_stays_one_path_segment(orchard, api):
    orchard("cancel", "ftjob-/../admin")
    assert api.requests[0].url.raw_path == b"/v1/fine_tuning/jobs/ftjob-%2F..%2Fadmin/cancel"


def test_login_keeps_a_key_only_when_the_server_knows_it(orchard, api, monkeypatch, tmp_path):
    monkeypatch.delenv("ORCHARD_API_KEY")
    api.routes = {"GET /v1/x/whoami": [error(401, "invalid_api_key", "no"), {"tenant": "acme"}]}
    assert orchard("login", input="sk-wrong\n").exit_code == 4
    assert not (tmp_path / "config.toml").exists()
    result = orchard("login", "--url", "http://lab", input="sk-right\n")
    assert result.exit_code == 0
    assert "sk-right" not in result.output
    assert json.loads(orchard("whoami", "-o", "json").stdout) == {"tenant": "acme"}
    assert str(api.requests[-1].url) == "http://lab/v1/x/whoami"


def test_login_heeds_the_root_flags_and_the_environment_as_every_command_does(orchard, api, monkeypatch):
    monkeypatch.delenv("ORCHARD_API_KEY")
    api.routes = {"GET /v1/x/whoami": {"role": "tenant"}}
    monkeypatch.setenv("ORCHARD_PROFILE", "lab")
    monkeypatch.setenv("ORCHARD_URL", "http://lab")
    assert orchard("login", input="sk-lab\n").exit_code == 0
    assert orchard("--profile", "home", "--url", "http://home", "--api-key", "sk-home", "login").exit_code == 0
    _, profiles = read_profiles(profile_path())
    assert {name: (known.url, known.api_key) for name, known in profiles.items()} == {
        "lab": ("http://lab", "sk-lab"),
        "home": ("http://home", "sk-home"),
    }


def test_the_job_file_that_submit_shows_as_an_example_is_one(orchard):
    lines = [line.strip() for line in orchard("submit", "--help", env={"COLUMNS": "200"}).stdout.splitlines()]
    start = lines.index("apiVersion: orchard/v1")
    example = yaml.safe_load("\n".join(lines[start : lines.index("", start)]))
    assert JobFile.model_validate(example).training.early_stopping_patience == 3


def test_every_option_and_argument_of_every_command_says_what_it_is():
    def silent(command, path):
        for name, below in getattr(command, "commands", {}).items():
            yield from silent(below, f"{path} {name}")
        yield from (f"{path}: {given.name}" for given in command.params if not getattr(given, "help", None))

    assert list(silent(get_command(app), "orchard")) == []


def test_doctor_names_what_is_wrong_and_what_to_do(orchard, api, tmp_path):
    (tmp_path / "config.toml").write_text("")
    (tmp_path / "config.toml").chmod(0o644)
    api.routes = {"GET /readyz": {}, "GET /v1/x/whoami": error(401, "invalid_api_key", "Incorrect API key")}
    result = orchard("doctor", "-o", "json")
    verdicts = {check["name"]: check["verdict"] for check in json.loads(result.stdout)}
    assert (verdicts["profile file"], verdicts["server"], verdicts["key"]) == ("bad", "ok", "bad")
    assert "chmod 600" in result.stdout
    assert result.exit_code == 1
    assert {check["verdict"] for check in yaml.safe_load(orchard("doctor", "-o", "yaml").stdout)} >= {"ok", "bad"}


def test_wrong_usage_ends_with_2_and_help_lists_the_exit_codes(orchard):
    assert orchard("submit", "--no-such-flag").exit_code == 2
    assert orchard("submit").exit_code == 2
    assert orchard("keys", "list", "-h").exit_code == 0
    text = " ".join(orchard("--help").stdout.split())
    assert "3 the job failed" in text


def test_help_loads_no_server_parts_and_no_http():
    code = (
        "import sys; from api.cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'ray', 'mlflow', 'torch', 'sqlalchemy', 'fastapi', 'httpx2', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True).returncode == 0


def test_a_tenants_weight_is_given_changed_and_listed(orchard, api, monkeypatch):
    monkeypatch.setenv("ORCHARD_ADMIN_KEY", "sk-admin")
    tenant = {"id": "tenant-1", "slug": "acme", "name": "acme", "weight": 3, "allowed_bases": None}
    api.routes = {
        "POST /v1/admin/tenants": tenant,
        "POST /v1/admin/tenants/acme": tenant,
        "GET /v1/admin/tenants": page(tenant),
    }
    assert orchard("tenants", "create", "acme", "--weight", "3").exit_code == 0
    assert orchard("tenants", "update", "acme", "--weight", "3").exit_code == 0
    assert api.sent("POST /v1/admin/tenants") == [{"slug": "acme", "name": "acme", "weight": 3}]
    assert api.sent("POST /v1/admin/tenants/acme") == [{"weight": 3}]
    assert "WEIGHT" in orchard("tenants", "list").stdout


def test_a_tenant_is_suspended_with_a_reason_and_goes_on(orchard, api, monkeypatch):
    monkeypatch.setenv("ORCHARD_ADMIN_KEY", "sk-admin")
    tenant = {"id": "tenant-1", "slug": "acme", "name": "Acme", "weight": 1}
    api.routes = {
        "POST /v1/admin/tenants/acme/suspend": tenant | {"suspended_at": 1, "suspension_reason": "Unpaid."},
        "POST /v1/admin/tenants/acme/resume": tenant | {"suspended_at": None},
    }
    assert "Unpaid." in orchard("tenants", "suspend", "acme", "--reason", "Unpaid.").stdout
    assert api.sent("POST /v1/admin/tenants/acme/suspend") == [{"reason": "Unpaid."}]
    assert orchard("tenants", "resume", "acme").exit_code == 0


def test_admin_keys_are_listed_and_the_last_one_stays(orchard, api, monkeypatch):
    monkeypatch.setenv("ORCHARD_ADMIN_KEY", "sk-admin")
    listed = {"id": "key-1", "name": "operator", "redacted_value": "sk-orchard-abcd…", "created_at": 1}
    api.routes = {
        "GET /v1/admin/keys": page(listed),
        "DELETE /v1/admin/keys/key-1": listed,
        "DELETE /v1/admin/keys/key-2": error(400, "last_admin_key", "Make another first: orchard keys create-admin"),
    }
    assert "key-1" in orchard("keys", "list-admin").stdout
    assert orchard("keys", "revoke-admin", "key-1").exit_code == 0
    refused = orchard("keys", "revoke-admin", "key-2")
    assert refused.exit_code != 0
    assert "orchard keys create-admin" in refused.stderr

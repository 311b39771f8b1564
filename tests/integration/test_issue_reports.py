"""Reports of bad rows over the real API: of a file, and of a job that failed over its files."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from openai import BadRequestError
from sqlalchemy import event, func, select, update

from orchestrator.db.database import Database
from orchestrator.db.states import JobState
from orchestrator.db.tables import FileRow, IssuePartRow
from orchestrator.encodings import promote
from orchestrator.files.retention import ExpireFiles
from orchestrator.issues.parts import PART
from orchestrator.lifecycle.reconcile_desired import ReconcileDesired
from orchestrator.submission.validate import ALSO_IN_TRAINING, Validate
from tests.builders.live_api import Api, live_api
from tests.builders.rows import make_file
from tests.builders.specs import make_dataset, sum_rows
from tests.builders.stock_client import ROWS, stock_client, tenant_row
from tests.builders.world import World
from tests.builders.world_jobs import running, submit
from workers.contract.issues import MAX_ISSUES
from workers.contract.rows import RowIssue

JOBS = "/v1/fine_tuning/jobs"
FILES = (("training", 0), ("validation", 900))
BAD = b'{"text": "good"}\nnot json\n{"text": 5}\n{"text": ""}\n{"messages": []}\n'


def store(web: TestClient, content: bytes = BAD) -> dict[str, Any]:
    """The uploaded file."""
    answer = web.post("/v1/files", files={"file": ("rows.jsonl", content)}, data={"purpose": "fine-tune"})
    assert answer.status_code == 200, answer.text
    file: dict[str, Any] = answer.json()
    return file


def stored_parts(db: Database) -> int:
    with db.read() as session:
        return session.scalar(select(func.count()).select_from(IssuePartRow)) or 0


def read_pages(web: TestClient, path: str, limit: int) -> list[dict[str, Any]]:
    """All issues, page by page, as OpenAI's clients page."""
    found: list[dict[str, Any]] = []
    while True:
        after = {"after": found[-1]["id"]} if found else {}
        page = web.get(path, params={"limit": limit, **after}).json()
        assert (page["object"], len(page["data"]) <= limit) == ("list", True)
        if page["data"]:
            assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
        found += page["data"]
        if not page["has_more"]:
            return found


@contextmanager
def parts_loaded() -> Iterator[list[IssuePartRow]]:
    """The parts of reports that the block reads from the database."""
    loaded: list[IssuePartRow] = []

    def note(part: IssuePartRow, _: Any) -> None:
        loaded.append(part)

    event.listen(IssuePartRow, "load", note)
    try:
        yield loaded
    finally:
        event.remove(IssuePartRow, "load", note)


def test_a_file_tells_every_problem_in_the_order_of_its_lines_with_totals(web: TestClient) -> None:
    file = store(web)
    path = file["x_orchard"]["report"]
    assert path == f"/v1/files/{file['id']}/x/issues"
    page = web.get(path).json()
    assert [(issue["line"], issue["field"], issue["code"]) for issue in page["data"]] == [
        (2, None, "invalid_json"),
        (3, "text", "string_type"),
        (4, "text", "string_too_short"),
        (5, None, "mixed_formats"),
    ]
    assert {(issue["file_id"], issue["file"]) for issue in page["data"]} == {(file["id"], None)}
    assert (page["issue_count"], page["stored_count"], page["has_more"]) == (4, 4, False)
    assert page["codes"] == dict.fromkeys(["invalid_json", "string_type", "string_too_short", "mixed_formats"], 1)
    assert read_pages(web, path, 1) == read_pages(web, path, 3) == page["data"]


def test_a_good_file_has_an_empty_report(web: TestClient) -> None:
    file = store(web, ROWS)
    page = web.get(f"/v1/files/{file['id']}/x/issues").json()
    assert (page["data"], page["first_id"], page["last_id"], page["has_more"]) == ([], None, None, False)
    assert (page["issue_count"], page["stored_count"], page["codes"]) == (0, 0, {})
    assert web.get(f"/v1/files/{file['id']}/x/issues", params={"format": "jsonl"}).content == b""


@pytest.mark.parametrize("asked", [{"params": {"format": "jsonl"}}, {"headers": {"accept": "application/x-ndjson"}}])
def test_the_whole_report_is_one_download_with_what_the_pages_have(web: TestClient, asked: dict[str, Any]) -> None:
    path = store(web, b"x\n" * (3 * PART + 7))["x_orchard"]["report"]
    answer = web.get(path, **asked)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-disposition"].startswith("attachment;")
    issues = [json.loads(line) for line in answer.text.splitlines()]
    assert len(issues) == 3 * PART + 7
    assert issues == read_pages(web, path, 250)
    assert web.get(path, params={"format": "json"}, headers={"accept": "application/x-ndjson"}).json()["data"]


@pytest.mark.parametrize("after", ["issue-0", "issue-x", "file-1", "issue-1 ", "issue-99999999"])
def test_a_cursor_that_no_page_gave_is_refused(web: TestClient, after: str) -> None:
    answer = web.get(store(web)["x_orchard"]["report"], params={"after": after})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "after")


def test_ten_thousand_problems_are_kept_and_a_page_or_a_list_reads_little_of_them(web: TestClient, api: Api) -> None:
    file = store(web, b'{"text": "good"}\n' + b"x\n" * (MAX_ISSUES + 50))
    path = file["x_orchard"]["report"]
    assert (file["status"], stored_parts(api.services.db)) == ("error", MAX_ISSUES // PART)
    with parts_loaded() as loaded:
        page = web.get(path, params={"limit": 100, "after": "issue-5150"}).json()
    assert len(loaded) == 3, "of fifty parts"
    assert [issue["id"] for issue in page["data"]] == [f"issue-{number}" for number in range(5151, 5251)]
    assert page["has_more"]
    assert (page["issue_count"], page["stored_count"]) == (MAX_ISSUES, MAX_ISSUES)
    assert page["codes"] == {"invalid_json": MAX_ISSUES - 1, "checking_stopped": 1}
    last = web.get(path, params={"limit": 1_000, "after": "issue-9900"}).json()
    assert (len(last["data"]), last["data"][-1]["code"], last["has_more"]) == (100, "checking_stopped", False)

    with parts_loaded() as loaded:
        assert web.get("/v1/files").json()["data"][0]["x_orchard"]["issue_count"] == MAX_ISSUES
    assert loaded == []
    with parts_loaded() as loaded:
        assert len(web.get(f"/v1/files/{file['id']}").json()["x_orchard"]["issues"]) == 100
    assert len(loaded) == 1


def test_a_deleted_file_leaves_nothing_of_its_report(web: TestClient, api: Api) -> None:
    file, other = store(web), store(web)
    assert stored_parts(api.services.db) == 2
    web.delete(f"/v1/files/{file['id']}")
    for asked in ({}, {"format": "jsonl"}):
        answer = web.get(file["x_orchard"]["report"], params=asked)
        assert (answer.status_code, answer.json()["error"]["param"]) == (404, "file_id")
    assert stored_parts(api.services.db) == 1
    assert len(web.get(other["x_orchard"]["report"]).json()["data"]) == 4


def test_an_expired_file_has_no_report_and_leaves_none(web: TestClient, api: Api) -> None:
    db, now = api.services.db, api.services.clock()
    file = store(web)
    with db.write() as session:
        session.execute(update(FileRow).values(expires_at=now - timedelta(seconds=1)))
    assert web.get(file["x_orchard"]["report"]).status_code == 404
    ExpireFiles(db).run_once(now)
    assert stored_parts(db) == 0


def test_an_upload_in_parts_has_its_report_too(web: TestClient) -> None:
    begun = {"bytes": len(BAD), "filename": "a.jsonl", "mime_type": "application/jsonl", "purpose": "fine-tune"}
    upload = web.post("/v1/uploads", json=begun).json()["id"]
    part = web.post(f"/v1/uploads/{upload}/parts", files={"data": ("part", BAD)}).json()["id"]
    file = web.post(f"/v1/uploads/{upload}/complete", json={"part_ids": [part]}).json()["file"]
    assert [issue["line"] for issue in file["x_orchard"]["issues"]] == [2, 3, 4, 5]
    assert [issue["line"] for issue in web.get(file["x_orchard"]["report"]).json()["data"]] == [2, 3, 4, 5]


def unencoded(db: Database, api: Api, **files: Any) -> tuple[World, str]:
    """A job whose encoder has both of its files. `files`: columns of the validation file."""
    world, tenant = World(db, api_folder(api), encodes_at_once=False), tenant_row(api)
    validation = make_file(db, tenant, **files)
    refs = {name: make_dataset(world.folder / f"{name}.jsonl", sum_rows(12, start=start)) for name, start in FILES}
    job_id = submit(
        world, state=JobState.VALIDATING, tenant=tenant, validation_file_id=validation.id, spec_changes=refs
    )
    world.tick()
    return world, job_id


def too_long(count: int) -> list[RowIssue]:
    return [RowIssue(line=n, field="a\0b", code="too_long", message="300 tokens") for n in range(1, count + 1)]


def test_a_job_whose_rows_cannot_be_encoded_says_how_many_and_where(db: Database, web: TestClient, api: Api) -> None:
    world, job_id = unencoded(db, api)
    world.encoder.finish()
    world.encoder.refuse(*too_long(300), message="file f: 300 rows cannot be used")
    world.tick()

    validation_id = world.job(job_id).validation_file_id
    job, path = web.get(f"{JOBS}/{job_id}").json(), f"{JOBS}/{job_id}/x/issues"
    assert (job["status"], job["error"]["code"]) == ("failed", "invalid_validation_file")
    assert job["error"]["message"] == (
        f"file f: 300 rows cannot be used. All 300 problems are in GET {path} (orchard issues {job_id})."
    )
    assert (job["x_orchard"]["issue_count"], job["x_orchard"]["report"]) == (300, path)
    issues = read_pages(web, path, 90)
    assert [issue["line"] for issue in issues] == list(range(1, 301))
    assert {(issue["file"], issue["file_id"], issue["field"]) for issue in issues} == {
        ("validation", validation_id, "a�b")
    }
    messages = world.messages(job_id)
    assert "Validation file, line 100: 300 tokens" in messages
    assert messages[-2:] == [
        f"200 more problems are in GET {path}",
        f"Fine-tuning job failed: {job['error']['message']}",
    ]

    with parts_loaded() as loaded:
        assert web.get(JOBS).json()["data"][0]["x_orchard"]["issue_count"] == 300
    assert loaded == []
    web.delete(f"/v1/files/{validation_id}")
    page = web.get(path).json()
    assert (page["data"], page["issue_count"], page["stored_count"]) == ([], 300, 0)
    assert stored_parts(db) == 0


def test_a_job_with_two_bad_files_reports_the_rows_of_both(db: Database, web: TestClient, api: Api) -> None:
    world, job_id = unencoded(db, api, container="csv")
    world.encoder.refuse(*too_long(250), message="the training file has 250 bad rows")
    world.encoder.refuse(*too_long(30), message="the validation file has 30 bad rows")
    world.tick()
    job = web.get(f"{JOBS}/{job_id}").json()
    assert (job["error"]["code"], job["x_orchard"]["issue_count"]) == ("invalid_training_file", 280)
    assert job["error"]["message"].startswith("the training file has 250 bad rows. All 280 problems are in GET ")
    found = [(each["file"], each["line"]) for each in read_pages(web, job["x_orchard"]["report"], 100)]
    assert found == [("training", n) for n in range(1, 251)] + [("validation", n) for n in range(1, 31)]


def test_the_events_of_a_table_name_rows_and_those_of_lines_name_lines(db: Database, api: Api) -> None:
    world, job_id = unencoded(db, api, container="csv")
    world.encoder.refuse(*too_long(2))
    world.encoder.refuse(*too_long(2))
    world.tick()
    messages = world.messages(job_id)
    assert "Line 2: 300 tokens" in messages
    assert "Validation file, row 2: 300 tokens" in messages


def test_a_job_that_no_machine_could_encode_has_no_report(db: Database, web: TestClient, api: Api) -> None:
    world, job_id = unencoded(db, api)
    world.encoder.finish()
    world.encoder.fail(retryable=False)
    world.tick()
    job = web.get(f"{JOBS}/{job_id}").json()
    assert (job["status"], job["error"]["message"], job["x_orchard"]["report"]) == ("failed", "storage is away", None)


def test_a_job_over_a_good_file_has_an_empty_report(db: Database, web: TestClient, api: Api) -> None:
    world = World(db, api_folder(api))
    job_id = running(world, tenant=tenant_row(api))
    world.host_of(job_id).fail(job_id)
    world.tick()
    job = web.get(f"{JOBS}/{job_id}").json()
    assert (job["error"]["message"], job["x_orchard"]["report"]) == ("it went wrong", None)
    assert web.get(f"{JOBS}/{job_id}/x/issues").json()["data"] == []


def test_rows_of_both_files_of_a_job_are_issues_of_its_validation_file(db: Database, web: TestClient, api: Api) -> None:
    rows = [b'{"text": "row %d"}\n' % n for n in range(12)]
    training, validation = store(web, b"".join(rows)), store(web, b'{"text": "new"}\n' + rows[3] + rows[7])
    body = {"model": "tiny", "training_file": training["id"], "validation_file": validation["id"]}
    job_id = web.post(JOBS, json=body).json()["id"]
    Validate(db, api.services.storage_uri).run_once(api.services.clock())
    job = web.get(f"{JOBS}/{job_id}").json()
    assert (job["status"], job["error"]["code"]) == ("failed", "invalid_validation_file")
    assert job["error"]["message"].endswith(
        f"All 2 problems are in GET {job['x_orchard']['report']} (orchard issues {job_id})."
    )
    found = web.get(job["x_orchard"]["report"]).json()["data"]
    assert [(each["line"], each["code"], each["message"], each["file"], each["file_id"]) for each in found] == [
        (line, "also_in_training", ALSO_IN_TRAINING, "validation", validation["id"]) for line in (2, 3)
    ]


@pytest.mark.parametrize("role", ["training_file", "validation_file"])
def test_either_file_is_checked_alike_at_upload_and_refused_alike_at_submit(
    db: Database, tmp_path: Path, role: str
) -> None:
    with live_api(db, tmp_path) as api, stock_client(api) as client:
        good = client.files.create(file=("good.jsonl", ROWS), purpose="fine-tune")
        bad = client.files.create(file=("bad.jsonl", BAD), purpose="fine-tune")
        assert bad.status == "error"
        files = {"training_file": good.id, "validation_file": good.id} | {role: bad.id}
        with pytest.raises(BadRequestError) as refused:
            client.fine_tuning.jobs.create(model="tiny", **files)  # type: ignore[arg-type]
        assert (refused.value.param, refused.value.code) == (role, f"invalid_{role}")
        assert f"/v1/files/{bad.id}/x/issues" in str(refused.value)
        page = client.get(f"/files/{bad.id}/x/issues", cast_to=dict[str, Any])
        assert [issue["line"] for issue in page["data"]] == [2, 3, 4, 5]


def api_folder(api: Api) -> Path:
    """Where the tenants' files lie."""
    return Path(api.services.storage_uri.removeprefix("file://"))


def test_no_report_of_a_stale_end_is_written(db: Database, web: TestClient, api: Api) -> None:
    """Another orchestrator ends the job between this one's look at its files and its write."""
    rows = b'{"text": "row"}\n' * 12
    training, validation = store(web, rows), store(web, rows)
    body = {"model": "tiny", "training_file": training["id"], "validation_file": validation["id"]}
    job_id = web.post(JOBS, json=body).json()["id"]
    slow, now = Validate(db, api.services.storage_uri), api.services.clock()
    decide = slow._decision

    def overtaken(*arguments: Any) -> Any:
        decision = decide(*arguments)
        Validate(db, api.services.storage_uri).run_once(now)
        return decision

    object.__setattr__(slow, "_decision", overtaken)
    asked = {"limit": 100}
    assert slow.run_once(now)["stale"] == 1
    assert web.get(f"{JOBS}/{job_id}").json()["x_orchard"]["state"] == JobState.FAILED
    messages = [each["message"] for each in web.get(f"{JOBS}/{job_id}/events", params=asked).json()["data"]]
    assert sum(message.startswith("Validation file, line 1:") for message in messages) == 1
    assert len(web.get(f"{JOBS}/{job_id}/x/issues").json()["data"]) == 12


def test_no_report_of_rows_is_written_when_their_job_ended_meanwhile(
    db: Database, web: TestClient, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cancelled between the look at its encodings and the write."""
    world, job_id = unencoded(db, api)
    world.encoder.finish()
    world.encoder.refuse(*too_long(3))
    decide = promote.judge

    def overtaken(*arguments: Any) -> Any:
        decision = decide(*arguments)
        web.post(f"{JOBS}/{job_id}/cancel")
        ReconcileDesired(db).run_once(world.now)
        return decision

    monkeypatch.setattr(promote, "judge", overtaken)
    world.tick()
    job = web.get(f"{JOBS}/{job_id}").json()
    assert (job["status"], job["x_orchard"]["issue_count"], stored_parts(db)) == ("cancelled", 0, 0)
    assert not [message for message in world.messages(job_id) if "300 tokens" in message]

"""What leaves as a stream: a job's events, its adapter, a file's content."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

from fastapi.testclient import TestClient
from sqlalchemy import update

from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import JobState
from orchestrator.db.tables import TenantRow
from orchestrator.lifecycle.events import EventDraft
from orchestrator.lifecycle.transition import JobRef, transition
from tests.builders.live_api import Api
from tests.builders.rows import NOW, make_job
from workers.contract.reports import AdapterManifest, FileDigest

JOBS = "/v1/fine_tuning/jobs"


def tenant_row(api: Api) -> TenantRow:
    with api.services.db.read() as session:
        return session.get_one(TenantRow, api.tenant.id)


def frames(text: str) -> list[dict[str, str]]:
    """The fields of each server-sent event, comments left out."""
    blocks = [block.splitlines() for block in text.strip().split("\n\n")]
    return [dict(line.split(": ", 1) for line in block if not line.startswith(":")) for block in blocks]


def test_events_stream_until_the_job_is_over(web: TestClient, api: Api) -> None:
    job = make_job(api.services.db, JobState.QUEUED, tenant_row(api))

    with web.stream("GET", f"{JOBS}/{job.id}/events", params={"stream": "true"}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        with api.services.db.write() as session:
            transition(session, JobRef.of(job), JobState.CANCELLED, EventDraft("cancelled"), now=NOW)
        got = frames(answer.read().decode())

    assert [json.loads(f["data"]).get("message") for f in got[:-1]] == [
        f"Created fine-tuning job: {job.id}",
        "cancelled",
    ]
    assert (got[-1]["event"], json.loads(got[-1]["data"])) == ("end", {"status": "cancelled"})


def test_a_stream_goes_on_after_the_last_event_seen(web: TestClient, api: Api) -> None:
    job = make_job(api.services.db, JobState.QUEUED, tenant_row(api))
    seen = web.get(f"{JOBS}/{job.id}/events").json()["data"][0]["id"]
    with api.services.db.write() as session:
        transition(session, JobRef.of(job), JobState.CANCELLED, EventDraft("cancelled"), now=NOW)

    url = f"{JOBS}/{job.id}/events?stream=true"
    got = frames(web.get(url, headers={"Last-Event-ID": seen}).text)
    assert [f["event"] for f in got] == ["message", "end"]
    assert web.get(url, headers={"Last-Event-ID": "ftevent-0"}).status_code == 400


def test_a_stream_of_a_job_that_is_not_there_is_404(web: TestClient) -> None:
    answer = web.get(f"{JOBS}/ftjob-0/events?stream=true")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "fine_tune_not_found")


def test_a_finished_adapter_comes_as_a_tar(web: TestClient, api: Api, tmp_path: Path) -> None:
    contents = {"adapter_config.json": b"{}", "adapter_model.safetensors": bytes(1_000), "deep/er/" + "n" * 120: b""}
    job = make_job(api.services.db, JobState.SUCCEEDED, tenant_row(api), adapter=manifest(tmp_path / "a", contents))

    answer = web.get(f"{JOBS}/{job.id}/adapter")

    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(answer.content)
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        got = {m.name.removeprefix(f"{job.id}/"): tar.extractfile(m).read() for m in tar.getmembers()}
    assert got == contents


def test_there_is_no_adapter_before_success_or_after_deletion(web: TestClient, api: Api, tmp_path: Path) -> None:
    running = make_job(api.services.db, JobState.RUNNING, tenant_row(api))
    answer = web.get(f"{JOBS}/{running.id}/adapter")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "adapter_not_ready")

    adapter = manifest(tmp_path / "a", {"adapter_config.json": b"{}"})
    done = make_job(api.services.db, JobState.SUCCEEDED, tenant_row(api), adapter=adapter)
    assert web.delete(f"/v1/models/{done.fine_tuned_model}").json()["deleted"] is True
    assert web.get(f"{JOBS}/{done.id}/adapter").status_code == 404


def test_metrics_and_details_of_a_running_job_are_shown(web: TestClient, api: Api) -> None:
    job = make_job(api.services.db, JobState.RUNNING, tenant_row(api), step=3, started_at=NOW)
    with api.services.db.write() as session:
        session.execute(update(JobRow).values(queue_reason="why"))

    shown = web.get(f"{JOBS}/{job.id}").json()
    assert (shown["status"], shown["x_orchard"]["state"], shown["x_orchard"]["step"]) == ("running", "running", 3)
    assert shown["x_orchard"]["host"].startswith("host-")
    assert shown["x_orchard"]["queue_reason"] == "why"
    assert shown["estimated_finish"] is None  # no step was measured


def manifest(folder: Path, contents: dict[str, bytes]) -> dict[str, object]:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    files = tuple(
        FileDigest(path=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    )
    return AdapterManifest(uri=folder.as_uri(), files=files, adapter_sha256="0" * 64, base_digest="1" * 64).model_dump(
        mode="json"
    )

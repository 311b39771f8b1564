"""The unmodified `openai` client against a real server: files, jobs, models and every class of error."""

from pathlib import Path

import openai
import pytest
from openai import BaseModel, OpenAI
from openai.pagination import SyncCursorPage

from orchestrator.db.database import Database
from orchestrator.db.states import JobState
from tests.builders.live_api import Api, add_tenant, live_api
from tests.builders.rows import make_checkpoint, make_job
from tests.builders.stock_client import ROWS, tenant_row, upload

pytestmark = pytest.mark.slow


class Issue(BaseModel):
    """A problem of a row, as a program that uses the stock client would declare it."""

    id: str
    line: int
    field: str | None


def test_a_file_lives_from_upload_to_deletion(client: OpenAI) -> None:
    file = client.files.create(
        file=("train.jsonl", ROWS), purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 3600}
    )

    assert (file.status, file.bytes, file.filename) == ("processed", len(ROWS), "train.jsonl")
    assert file.expires_at == file.created_at + 3600
    assert client.files.wait_for_processing(file.id).model_extra["x_orchard"]["rows"] == 12
    assert client.files.content(file.id).read() == ROWS
    assert [f.id for f in client.files.list(purpose="fine-tune")] == [file.id]
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_files_are_paged_in_either_order(client: OpenAI) -> None:
    ids = [upload(client, name=f"{n}.jsonl") for n in range(3)]

    assert [f.id for f in client.files.list(limit=2)] == ids[::-1]
    assert [f.id for f in client.files.list(limit=1, order="asc")] == ids


def test_every_bad_line_of_a_file_is_reported(client: OpenAI, served: Api) -> None:
    bad = b'{"messages": []}\n' + ROWS + b'not json\n{"messages": [{"role": "robot", "content": "x"}]}\n'
    file = client.files.create(file=("bad.jsonl", bad), purpose="fine-tune")

    found = file.model_extra["x_orchard"]
    assert file.status == "error"
    assert file.status_details is not None
    assert file.status_details.startswith("Invalid file format. Line 1, messages")
    assert {issue["line"] for issue in found["issues"]} == {1, 14, 15}
    path, one = found["report"].removeprefix("/v1"), {"params": {"limit": 1}}
    issues = client.get_api_list(path, model=Issue, page=SyncCursorPage[Issue], options=one)  # type: ignore[typeddict-item]
    assert [(issue.line, issue.field) for issue in issues] == [(1, "messages"), (14, None), (15, "messages.0.role")]
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.create(model="tiny", training_file=file.id)
    assert (caught.value.code, caught.value.param) == ("invalid_training_file", "training_file")


def test_a_job_comes_back_with_every_number_resolved(client: OpenAI, served: Api) -> None:
    train, valid = upload(client), upload(client, ROWS[: len(ROWS) // 2].rsplit(b"\n", 1)[0])

    job = client.fine_tuning.jobs.create(
        model="tiny",
        training_file=train,
        validation_file=valid,
        suffix="sums",
        seed=5,
        metadata={"team": "search"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": "auto"}}},
        extra_body={"x_orchard": {"method": {"rank": 4}, "data": {"max_seq_len": 64}, "priority": 3}},
    )

    assert job.id.startswith("ftjob-")
    assert (job.status, job.seed, job.organization_id) == ("validating_files", 5, served.tenant.id)
    assert job.hyperparameters.model_dump() == {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 1.0}
    assert job.error is None
    ours = job.model_extra["x_orchard"]
    expected = {"quantization": "none", "priority": 3, "total_steps": 6, "state": "validating", "lane": "fused"}
    assert {name: ours[name] for name in expected} == expected
    targets = ["q_proj", "v_proj"]
    method = {
        "type": "lora",
        "rank": 4,
        "alpha": 8.0,
        "dropout": 0.0,
        "target_modules": targets,
        "rslora": False,
        "dora": False,
        "lr_ratio": None,
    }
    assert (ours["method"], ours["data"]["max_seq_len"]) == (method, 64)
    assert (ours["training"]["micro_batch_size"], ours["training"]["learning_rate"]) == (4, 2e-4)
    assert ours["lane_reason"] == "fused, because adapters of method 'lora' share passes of one base"
    assert client.fine_tuning.jobs.retrieve(job.id) == job
    events = client.fine_tuning.jobs.list_events(job.id).data
    assert [e.message for e in events] == [f"Created fine-tuning job: {job.id}"]


def test_jobs_are_paged_newest_first_and_filtered_by_metadata(client: OpenAI) -> None:
    file = upload(client)
    ids = [
        client.fine_tuning.jobs.create(model="tiny", training_file=file, metadata=labels).id
        for labels in ({"team": "a", 'odd "key".[0]': ""}, {"team": "b"}, None)
    ]

    assert [j.id for j in client.fine_tuning.jobs.list(limit=1)] == ids[::-1]
    assert [j.id for j in client.fine_tuning.jobs.list(metadata={"team": "a"})] == ids[:1]
    assert [j.id for j in client.fine_tuning.jobs.list(metadata={"team": "a", "x": "y"})] == []
    assert [j.id for j in client.fine_tuning.jobs.list(metadata={'odd "key".[0]': ""})] == ids[:1]
    assert [j.id for j in client.fine_tuning.jobs.list(extra_query={"metadata": "null"})] == ids[2:]


def test_a_finished_job_cannot_be_cancelled(client: OpenAI, served: Api, db: Database) -> None:
    job = make_job(db, JobState.SUCCEEDED, tenant_row(served))

    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.cancel(job.id)
    assert caught.value.code == "job_already_finished"


def test_checkpoints_are_listed_newest_first_with_model_names(client: OpenAI, served: Api, db: Database) -> None:
    job = make_job(db, JobState.SUCCEEDED, tenant_row(served))
    for step in (3, 6):
        make_checkpoint(db, job, step)
    make_checkpoint(db, job, 9, state="corrupt")

    found = list(client.fine_tuning.jobs.checkpoints.list(job.id, limit=1))
    assert [c.step_number for c in found] == [6, 3]
    assert found[0].fine_tuned_model_checkpoint == f"{job.fine_tuned_model}:ckpt-step-6"
    assert found[0].metrics.full_valid_loss == 1.6


def test_models_are_bases_and_the_tenants_own_adapters(client: OpenAI, served: Api, db: Database) -> None:
    job = make_job(db, JobState.SUCCEEDED, tenant_row(served))
    make_job(db, JobState.SUCCEEDED)

    assert [m.id for m in client.models.list()] == ["tiny", "org/tiny-2", job.fine_tuned_model]
    assert client.models.retrieve("org/tiny-2").model_extra["x_orchard"]["license"] == "Apache-2.0"
    assert client.models.retrieve(job.fine_tuned_model).owned_by == "acme"
    assert client.models.delete(job.fine_tuned_model).deleted
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(job.fine_tuned_model)
    with pytest.raises(openai.BadRequestError):
        client.models.delete("org/tiny-2")


def test_an_idempotency_key_makes_one_job(client: OpenAI) -> None:
    file = upload(client)
    header = {"Idempotency-Key": "once"}

    first = client.fine_tuning.jobs.create(model="tiny", training_file=file, extra_headers=header)
    assert client.fine_tuning.jobs.create(model="tiny", training_file=file, extra_headers=header).id == first.id
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.fine_tuning.jobs.create(model="tiny", training_file=file, seed=1, extra_headers=header)
    assert caught.value.code == "idempotency_key_reused"
    assert len(client.fine_tuning.jobs.list().data) == 1


def test_a_wrong_key_is_an_authentication_error_that_masks_the_key(served: Api) -> None:
    wrong = "sk-orchard-" + "x" * 43
    with (
        OpenAI(api_key=wrong, base_url=f"{served.url}/v1") as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.models.list()
    assert caught.value.code == "invalid_api_key"
    assert wrong not in caught.value.message
    assert "sk-orchard-***xxxx" in caught.value.message
    assert caught.value.request_id is not None


def test_another_tenants_things_do_not_exist(client: OpenAI, served: Api) -> None:
    file = upload(client)
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file)
    _, other_key = add_tenant(served.services, "other")
    with OpenAI(api_key=other_key, base_url=f"{served.url}/v1") as other:
        calls = (
            lambda: other.files.retrieve(file),
            lambda: other.files.content(file),
            lambda: other.files.delete(file),
            lambda: other.fine_tuning.jobs.retrieve(job.id),
            lambda: other.fine_tuning.jobs.cancel(job.id),
            lambda: other.fine_tuning.jobs.list_events(job.id),
            lambda: other.fine_tuning.jobs.checkpoints.list(job.id),
            lambda: other.fine_tuning.jobs.create(model="tiny", training_file=file),
        )
        for call in calls:
            with pytest.raises(openai.NotFoundError):
                call()
        assert list(other.files.list()) == []
        assert list(other.fine_tuning.jobs.list()) == []


def test_a_file_beyond_the_limit_is_refused_and_leaves_no_bytes(db: Database, tmp_path: Path) -> None:
    with live_api(db, tmp_path, max_file_bytes=100) as api, OpenAI(api_key=api.key, base_url=f"{api.url}/v1") as client:
        for size in (101, 3_000_000):
            with pytest.raises(openai.APIStatusError) as caught:
                upload(client, b"x" * size)
            assert caught.value.status_code == 413
            assert caught.value.body["message"]
    assert [p for p in tmp_path.rglob("*") if p.is_file() and "storage" in p.parts] == []

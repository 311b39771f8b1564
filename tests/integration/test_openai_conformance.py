"""What the stock `openai` client does with fine-tuning, call by call: the list of what it can count on here.

One test a call or promise, as short as it can be; the corners of each are tested elsewhere.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from api.app import create_app
from orchestrator.db.database import Database
from orchestrator.db.states import JobState
from orchestrator.lifecycle.events import EventDraft
from orchestrator.lifecycle.transition import JobRef, transition
from orchestrator.tenancy.keys import create_tenant_key, revoke_key
from orchestrator.webhooks.addresses import EgressPolicy
from orchestrator.webhooks.deliver import DeliverWebhooks
from orchestrator.webhooks.send import Sender
from tests.builders.live_api import Api, add_tenant, live_api, make_api, serving
from tests.builders.losing_answers import LosesAnswers
from tests.builders.receiver import receiving
from tests.builders.rows import make_checkpoint, make_job
from tests.builders.specs import make_base_spec
from tests.builders.stock_client import ROWS, stock_client, tenant_row, upload

pytestmark = pytest.mark.slow
DEV = EgressPolicy(allow_http=True, allow_private=True)


@pytest.fixture
def api(db: Database, tmp_path: Path) -> Iterator[Api]:
    with live_api(db, tmp_path) as running:
        yield running


@pytest.fixture
def client(api: Api) -> Iterator[OpenAI]:
    with stock_client(api, max_retries=0) as opened:
        yield opened


@pytest.fixture
def job_id(client: OpenAI) -> str:
    return client.fine_tuning.jobs.create(model="tiny", training_file=upload(client)).id


@pytest.fixture
def finished(api: Api, db: Database) -> tuple[str, str]:
    """A job that has succeeded, with two checkpoints: the names of its model and of its newest checkpoint."""
    base = make_base_spec("org/tiny-2")
    job = make_job(db, JobState.SUCCEEDED, tenant_row(api), spec_changes={"base": base})
    for step in (3, 6):
        make_checkpoint(db, job, step)
    with stock_client(api) as client:
        newest = client.fine_tuning.jobs.checkpoints.list(job.id).data[0]
    return job.fine_tuned_model or "", newest.fine_tuned_model_checkpoint


# Files


def test_files_create_retrieve_list_content_delete(client: OpenAI) -> None:
    file = client.files.create(file=("train.jsonl", ROWS), purpose="fine-tune")

    assert client.files.retrieve(file.id) == file
    assert [found.id for found in client.files.list(purpose="fine-tune", limit=1)] == [file.id]
    assert client.files.content(file.id).read() == ROWS
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


@pytest.mark.parametrize(("content", "status"), [(ROWS, "processed"), (b"no json\n", "error")])
def test_files_wait_for_processing_ends_at_once(client: OpenAI, content: bytes, status: str) -> None:
    assert client.files.wait_for_processing(upload(client, content), max_wait_seconds=1).status == status


# Uploads in parts


def test_uploads_upload_file_chunked_makes_one_file(client: OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(ROWS)
    done = client.uploads.upload_file_chunked(
        file=path,
        mime_type="application/jsonl",
        purpose="fine-tune",
        part_size=100,
        md5=hashlib.md5(ROWS).hexdigest(),
    )

    assert (done.status, done.bytes) == ("completed", len(ROWS))
    assert done.file is not None
    assert client.files.retrieve(done.file.id).status == "processed"
    assert client.files.content(done.file.id).read() == ROWS


def test_uploads_cancel_takes_no_more_parts(client: OpenAI) -> None:
    begun = client.uploads.create(bytes=5, filename="a.jsonl", mime_type="text/plain", purpose="fine-tune")

    assert client.uploads.cancel(begun.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError):
        client.uploads.parts.create(begun.id, data=b"12345")


# Jobs


def test_jobs_create_and_retrieve(client: OpenAI) -> None:
    job = client.fine_tuning.jobs.create(
        model="tiny",
        training_file=upload(client),
        suffix="sums",
        seed=5,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": "auto"}}},
    )

    assert (job.status, job.seed, job.error, job.fine_tuned_model) == ("validating_files", 5, None, None)
    assert job.hyperparameters.model_dump() == {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 1.0}
    assert client.fine_tuning.jobs.retrieve(job.id) == job


def test_jobs_list_pages_and_filters_by_metadata(client: OpenAI) -> None:
    file = upload(client)
    first, second = (
        client.fine_tuning.jobs.create(model="tiny", training_file=file, metadata={"team": team}).id for team in "ab"
    )

    assert [job.id for job in client.fine_tuning.jobs.list(limit=1)] == [second, first]
    assert [job.id for job in client.fine_tuning.jobs.list(metadata={"team": "a"})] == [first]


def test_jobs_list_events(client: OpenAI, job_id: str) -> None:
    assert [e.message for e in client.fine_tuning.jobs.list_events(job_id)] == [f"Created fine-tuning job: {job_id}"]


def test_jobs_cancel_can_be_repeated(client: OpenAI, job_id: str) -> None:
    assert client.fine_tuning.jobs.cancel(job_id).id == client.fine_tuning.jobs.cancel(job_id).id == job_id


def test_jobs_pause_and_resume(client: OpenAI, api: Api, db: Database) -> None:
    running = make_job(db, JobState.RUNNING, tenant_row(api))

    assert client.fine_tuning.jobs.pause(running.id).status == "pausing"
    assert client.fine_tuning.jobs.pause(running.id).status == "pausing"
    assert client.fine_tuning.jobs.resume(running.id).status == "running"


def test_jobs_checkpoints_list(client: OpenAI, finished: tuple[str, str]) -> None:
    [job] = client.fine_tuning.jobs.list()
    found = list(client.fine_tuning.jobs.checkpoints.list(job.id, limit=1))

    assert [checkpoint.step_number for checkpoint in found] == [6, 3]
    assert found[0].fine_tuned_model_checkpoint == finished[1]


# Checkpoint permissions


def test_checkpoint_permissions_create_list_delete(client: OpenAI, api: Api, finished: tuple[str, str]) -> None:
    permissions, name = client.fine_tuning.checkpoints.permissions, finished[1]
    projects = [add_tenant(api.services, slug)[0].id for slug in ("team-b", "team-c", "team-d")]

    made = list(permissions.create(name, project_ids=projects))
    assert [permission.project_id for permission in made] == projects
    assert [p.project_id for p in permissions.list(name, limit=1, order="ascending")] == projects
    assert [p.project_id for p in permissions.list(name, project_id=projects[1])] == [projects[1]]
    assert permissions.delete(made[0].id, fine_tuned_model_checkpoint=name).deleted
    assert [p.project_id for p in permissions.list(name)] == projects[:0:-1]


def test_an_admin_key_is_taken_for_an_ordinary_one(api: Api, finished: tuple[str, str]) -> None:
    project = add_tenant(api.services, "team-b")[0].id
    with stock_client(api, api.admin_key) as admin:
        assert admin.fine_tuning.checkpoints.permissions.create(finished[1], project_ids=[project]).data


# Models


def test_models_with_a_slash_in_the_name(client: OpenAI, finished: tuple[str, str]) -> None:
    model = finished[0]
    assert "/" in model
    assert [found.id for found in client.models.list()] == ["tiny", "org/tiny-2", model]
    assert client.models.retrieve(model).owned_by == "acme"
    assert client.models.delete(model).deleted
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(model)


# Errors: class, code, and whether the client is told to try again


def test_400_names_the_parameter(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.create(model="no-such", training_file="file-1")
    assert (caught.value.code, caught.value.param) == ("model_not_available", "model")
    assert caught.value.request_id


def test_401_for_a_key_that_is_not_valid_any_more(client: OpenAI, api: Api) -> None:
    view, secret = create_tenant_key(api.services.db, "acme", "old", api.services.clock())
    revoke_key(api.services.db, "acme", view.id, api.services.clock())
    with stock_client(api, secret) as stranger, pytest.raises(openai.AuthenticationError) as caught:
        stranger.models.list()
    assert caught.value.code == "invalid_api_key"


def test_403_for_a_key_of_the_wrong_kind(api: Api) -> None:
    with stock_client(api, api.admin_key) as admin, pytest.raises(openai.PermissionDeniedError) as caught:
        admin.files.list()
    assert caught.value.code == "insufficient_permissions"


def test_404_for_what_is_not_there_or_anothers(client: OpenAI, api: Api, job_id: str) -> None:
    with (
        stock_client(api, add_tenant(api.services, "other")[1]) as other,
        pytest.raises(openai.NotFoundError) as caught,
    ):
        other.fine_tuning.jobs.retrieve(job_id)
    assert (caught.value.code, caught.value.param) == ("fine_tune_not_found", "fine_tune_id")


def test_422_for_a_key_that_was_used_for_another_body_is_not_repeated(client: OpenAI) -> None:
    file, header = upload(client), {"Idempotency-Key": "once"}
    client.fine_tuning.jobs.create(model="tiny", training_file=file, extra_headers=header)
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.fine_tuning.jobs.create(model="tiny", training_file=file, seed=1, extra_headers=header)
    assert caught.value.code == "idempotency_key_reused"
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_429_for_a_quota_is_not_repeated(db: Database, tmp_path: Path) -> None:
    with live_api(db, tmp_path, max_live_jobs=1) as api, stock_client(api) as client:
        file = upload(client)
        client.fine_tuning.jobs.create(model="tiny", training_file=file)
        with pytest.raises(openai.RateLimitError) as caught:
            client.fine_tuning.jobs.create(model="tiny", training_file=file, seed=1)
    assert caught.value.code == "insufficient_quota"
    assert caught.value.response.request.headers["x-stainless-retry-count"] == "0"


# Repeats: the client sends a POST again after a 5xx, without any key


def test_a_forced_500_is_three_posts_and_one_job(db: Database, tmp_path: Path) -> None:
    api = make_api(db, tmp_path)
    losing = LosesAnswers(create_app(api.services), "/v1/fine_tuning/jobs", times=2)
    with serving(losing) as url, OpenAI(api_key=api.key, base_url=f"{url}/v1") as client:
        job = client.fine_tuning.jobs.create(model="tiny", training_file=upload(client))
        assert losing.retry_counts == ["0", "1", "2"]
        assert [found.id for found in client.fine_tuning.jobs.list()] == [job.id]


def test_two_identical_posts_that_are_meant_make_two_jobs(client: OpenAI) -> None:
    file = upload(client)
    made = {client.fine_tuning.jobs.create(model="tiny", training_file=file).id for _ in range(2)}
    assert {job.id for job in client.fine_tuning.jobs.list()} == made
    assert len(made) == 2


# Webhooks


def test_webhooks_create_and_unwrap_what_is_delivered(db: Database, tmp_path: Path) -> None:
    with live_api(db, tmp_path, egress_policy=DEV) as api, receiving() as receiver, stock_client(api) as client:
        events: list[Any] = ["fine_tuning.job.cancelled"]
        endpoint = client.webhooks.create(name="ci", url=receiver.url, event_types=events)
        job = make_job(db, JobState.QUEUED, tenant_row(api))
        with db.write() as session:
            transition(session, JobRef.of(job), JobState.CANCELLED, EventDraft("over"), now=datetime.now(UTC))
        DeliverWebhooks(db, Sender(DEV)).run_once(datetime.now(UTC))

        event = client.webhooks.unwrap(receiver.last.body, receiver.last.headers, secret=endpoint.signing_secret)
        assert (event.type, event.data.id) == ("fine_tuning.job.cancelled", job.id)
        assert client.webhooks.delete(endpoint.id).deleted

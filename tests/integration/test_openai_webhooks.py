"""The unmodified `openai` client manages webhook endpoints of a real server, and verifies what they are sent."""

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from orchestrator.db.database import Database
from orchestrator.webhooks.addresses import EgressPolicy
from tests.builders.live_api import live_api
from tests.builders.receiver import Receiver, receiving

pytestmark = pytest.mark.slow


@pytest.fixture
def client(db: Database, tmp_path: Path) -> Iterator[OpenAI]:
    with (
        live_api(db, tmp_path, egress_policy=EgressPolicy(allow_http=True, allow_private=True)) as api,
        OpenAI(api_key=api.key, base_url=f"{api.url}/v1") as opened,
    ):
        yield opened


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def test_an_endpoint_lives_from_creation_to_deletion(client: OpenAI, receiver: Receiver) -> None:
    made = client.webhooks.create(name="ci", url=receiver.url, event_types=["fine_tuning.job.succeeded"])
    assert made.signing_secret.startswith("whsec_")
    assert made.signing_secret not in repr(made)
    second = client.webhooks.create(name="cd", url=receiver.url, event_types=["fine_tuning.job.failed"])
    assert [item.id for item in client.webhooks.list(limit=1)] == [second.id, made.id]

    changed = client.webhooks.update(made.id, event_types=["fine_tuning.job.failed", "fine_tuning.job.cancelled"])
    assert client.webhooks.retrieve(made.id) == changed
    assert changed.event_types == ["fine_tuning.job.failed", "fine_tuning.job.cancelled"]
    assert set(changed.event_types) < set(client.webhooks.event_types.list().data)

    assert client.webhooks.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.webhooks.retrieve(made.id)
    with pytest.raises(openai.BadRequestError, match=r"batch\.completed") as refused:
        client.webhooks.create(name="x", url=receiver.url, event_types=["batch.completed"])
    assert refused.value.param == "event_types.0"


def test_a_sample_verifies_under_the_secret_and_its_status_comes_back(client: OpenAI, receiver: Receiver) -> None:
    receiver.answers = [418, 200]
    made = client.webhooks.create(name="ci", url=receiver.url, event_types=["fine_tuning.job.succeeded"])
    result = client.webhooks.test(made.id, event_type="fine_tuning.job.failed")
    assert (result.status_code, result.success, result.event_type) == (418, True, "fine_tuning.job.failed")
    event = client.webhooks.unwrap(receiver.last.body, receiver.last.headers, secret=made.signing_secret)
    assert event.type == "fine_tuning.job.failed"

    new = client.webhooks.rotate_secret(made.id)
    client.webhooks.test(made.id, event_type="fine_tuning.job.succeeded")
    client.webhooks.unwrap(receiver.last.body, receiver.last.headers, secret=new.signing_secret)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(receiver.last.body, receiver.last.headers, secret=made.signing_secret)
    assert client.webhooks.retrieve(made.id).signing_secret_hint == f"…{new.signing_secret[-4:]}"


def test_a_receiver_that_is_not_there_is_told_without_a_second_try(client: OpenAI) -> None:
    made = client.webhooks.create(name="ci", url="http://127.0.0.1:1/", event_types=["fine_tuning.job.succeeded"])
    with pytest.raises(openai.BadRequestError, match="The connection was refused") as refused:
        client.webhooks.test(made.id, event_type="fine_tuning.job.succeeded")
    assert refused.value.code == "webhook_no_answer"

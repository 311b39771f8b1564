"""A process that sends webhooks is killed; the next one goes on."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from openai import OpenAI

from orchestrator.db.database import Database
from orchestrator.db.states import JobState
from orchestrator.lifecycle.events import EventDraft
from orchestrator.lifecycle.transition import JobRef, transition
from orchestrator.steps.step import Counts
from orchestrator.webhooks.addresses import EgressPolicy
from orchestrator.webhooks.claims import LEASE_S
from orchestrator.webhooks.deliver import DeliverWebhooks
from orchestrator.webhooks.endpoints import Endpoints
from orchestrator.webhooks.events import EventType
from orchestrator.webhooks.requests import NewEndpoint
from orchestrator.webhooks.secrets import SecretBox
from orchestrator.webhooks.send import Sender
from tests.builders.receiver import receiving
from tests.builders.rows import make_job

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SENDER = """
import sys
from datetime import UTC, datetime
from orchestrator.db.database import Database
from orchestrator.webhooks.deliver import DeliverWebhooks
from orchestrator.webhooks.addresses import EgressPolicy
from orchestrator.webhooks.send import Sender
DeliverWebhooks(Database(sys.argv[1]), Sender(EgressPolicy(True, True))).run_once(datetime.now(UTC))
"""


@pytest.mark.parametrize("place", ["webhooks.claimed", "webhooks.sent"])
def test_f35_a_sender_killed_with_a_delivery_in_hand_loses_nothing(
    db: Database, database_url: str, tmp_path: Path, place: str
):
    job = make_job(db, JobState.QUEUED)
    with receiving() as receiver:
        endpoint = Endpoints(db, EgressPolicy(True, True), SecretBox()).create(
            job.tenant_id, NewEndpoint(name="ci", url=receiver.url, event_types=list(EventType)), datetime.now(UTC)
        )
        with db.write() as session:
            transition(session, JobRef.of(job), JobState.CANCELLED, EventDraft("over"), now=datetime.now(UTC))

        proof = tmp_path / "fired"
        env = {"PYTHONPATH": str(ROOT), "ORCHARD_FAIL": f"{place}:kill9", "ORCHARD_FAIL_LOG": str(proof)}
        died = subprocess.run([sys.executable, "-c", SENDER, database_url], env=env, check=False, timeout=60)
        assert (died.returncode, proof.read_text().split()[0]) == (-9, place)

        survivor, now = DeliverWebhooks(db, Sender(EgressPolicy(True, True))), datetime.now(UTC)
        assert survivor.run_once(now) == Counts()
        assert survivor.run_once(now + timedelta(seconds=LEASE_S)) == Counts(delivered=1)

    assert len(receiver.taken) == (2 if place == "webhooks.sent" else 1)
    assert len({(taken.headers["webhook-id"], taken.body) for taken in receiver.taken}) == 1
    client = OpenAI(api_key="-", webhook_secret=endpoint.signing_secret)
    assert client.webhooks.unwrap(receiver.last.body, receiver.last.headers).data.id == job.id

"""Ctrl-C of the stack in mid-training, and the next start."""

from pathlib import Path

import openai
import pytest
from sqlalchemy import select

from orchestrator.db.job_tables import AttemptRow
from tests.builders.live_stack import LiveStack, details, live_stack, messages, submit, upload, wait_for_end
from tests.builders.specs import sum_rows
from tests.builders.waiting import wait_until
from workers.contract.reports import ExitClass

pytestmark = pytest.mark.slow


def client_of(live: LiveStack, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{live.stack.api_url}/v1", api_key=key)


def attempts_of(live: LiveStack, job_id: str) -> list[AttemptRow]:
    with live.db.read() as session:
        query = select(AttemptRow).where(AttemptRow.job_id == job_id).order_by(AttemptRow.number)
        return list(session.scalars(query))


@pytest.mark.timeout(900)
def test_a_stop_in_mid_training_costs_no_attempt_and_the_next_start_goes_on_from_the_step_it_had(tmp_path: Path):
    with live_stack(tmp_path) as live:
        client = live.client("acme")
        rows = upload(client, sum_rows(64))
        job = submit(client, rows, n_epochs=50, checkpoint_interval_steps=1_000).id  # none before the stop
        reached = lambda: details(client.fine_tuning.jobs.retrieve(job))["step"] or 0  # noqa: E731
        wait_until(lambda: reached() >= 5, "it trains", 300)
        before = reached()
    with live_stack(tmp_path) as live:
        client = client_of(live, client.api_key)
        ended = wait_for_end(client, job, 600)
        told, attempts = messages(client, job), attempts_of(live, job)
    assert ended.status == "succeeded", ended.error
    seen = [message for message in told if not message.startswith("Step ")]
    assert not [message for message in seen if "lost" in message or "died" in message or "Retry" in message], seen
    assert any(message.startswith("The service was stopped as planned at step ") for message in seen), seen
    assert [attempt.exit_class for attempt in attempts] == [ExitClass.PREEMPTED, ExitClass.OK]
    assert attempts[1].resumed_from_step == attempts[0].last_step >= before

"""`kill -9` in mid-training: of a host's process, and of the orchestrator."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from sqlalchemy import URL

from tests.builders.live_stack import LiveStack, details, live_stack, messages, submit, upload, wait_for_end
from tests.builders.specs import sum_rows
from tests.builders.waiting import wait_until
from tests.conftest import execute

pytestmark = pytest.mark.slow

STEPS = 200  # 16 rows in batches of 4, 50 epochs


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """A stack of this module's own, over each database."""
    folder: Path = tmp_path_factory.mktemp("kills")
    if request.param == "sqlite":
        with live_stack(folder) as live:
            yield live
        return
    server: URL = request.getfixturevalue("postgres")
    execute(server, "CREATE DATABASE kills")
    with live_stack(folder, server.set(database="kills").render_as_string(hide_password=False)) as live:
        yield live
    execute(server, "DROP DATABASE kills WITH (FORCE)")


def in_mid_training(client: openai.OpenAI, at_step: int) -> str:
    """A long job that has taken `at_step` steps and has at least one checkpoint."""
    job = submit(
        client, upload(client, sum_rows(16)), n_epochs=50, checkpoint_interval_steps=5, validation_file=openai.omit
    )

    def far_enough() -> bool:
        return (
            details(client.fine_tuning.jobs.retrieve(job.id))["step"] >= at_step
            and len(client.fine_tuning.jobs.checkpoints.list(job.id).data) > 0
        )

    wait_until(far_enough, f"step {at_step} of {job.id}", 120)
    return job.id


def test_a_killed_host_costs_an_attempt_and_the_job_resumes_from_its_checkpoint(stack: LiveStack):
    client = stack.client("hal")
    job_id = in_mid_training(client, at_step=12)
    host = next(host for host in stack.hosts() if host["state"] == "ready")
    os.kill(host["pid"], signal.SIGKILL)
    job = wait_for_end(client, job_id)
    told = messages(client, job_id)
    assert job.status == "succeeded"
    assert details(job)["attempt"] == 2
    assert details(job)["host"] != host["id"]
    restarts = [message for message in told if message.startswith("Fine-tuning job restarted from step ")]
    assert len(restarts) == 1
    assert int(restarts[0].rsplit(" ", 1)[1]) >= 5


def test_training_goes_on_while_the_orchestrator_is_dead_and_the_job_succeeds_after_its_restart(stack: LiveStack):
    client = stack.client("ida")
    job_id = in_mid_training(client, at_step=12)
    before = stack.child_pid("orchestrator")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: stack.child_pid("orchestrator") != before, "a new orchestrator", 60)
    job = wait_for_end(client, job_id)
    assert job.status == "succeeded"
    assert details(job)["attempt"] == 1
    steps = [message for message in messages(client, job_id) if message.startswith(f"Step {STEPS}/{STEPS}")]
    assert steps

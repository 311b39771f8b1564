"""`kill -9` in mid-training: of a host's process, and of the orchestrator."""

import io
import os
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai.types.fine_tuning import FineTuningJob
from sqlalchemy import URL

from tests.builders.live_stack import LiveStack, details, live_stack, messages, submit, upload, wait_for_end
from tests.builders.postgres import own_database
from tests.builders.specs import sum_rows
from tests.builders.waiting import wait_until

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
    with own_database(server, "kills") as url, live_stack(folder, url) as live:
        yield live


def long_job(client: openai.OpenAI) -> FineTuningJob:
    """200 steps, with everything on that a resume could disturb."""
    options = {"checkpoint_interval_steps": 5, "deterministic": True, "dropout": 0.1, "weight_decay": 0.01}
    return submit(client, upload(client, sum_rows(16)), n_epochs=50, **options)


def adapter_of(client: openai.OpenAI, job_id: str) -> bytes:
    """The adapter's weights as the tenant downloads them."""
    content = client.get(f"/fine_tuning/jobs/{job_id}/adapter", cast_to=openai.HttpxBinaryResponseContent).content
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        name = next(name for name in archive.getnames() if name.endswith("adapter_model.safetensors"))
        file = archive.extractfile(name)
        assert file is not None
        return file.read()


def in_mid_training(client: openai.OpenAI, at_step: int) -> str:
    """A long job that has taken `at_step` steps and has at least one checkpoint."""
    job = long_job(client)

    def far_enough() -> bool:
        return (
            details(client.fine_tuning.jobs.retrieve(job.id))["step"] >= at_step
            and len(client.fine_tuning.jobs.checkpoints.list(job.id).data) > 0
        )

    wait_until(far_enough, f"step {at_step} of {job.id}", 120)
    return job.id


def test_a_killed_host_costs_an_attempt_and_the_job_resumes_to_the_same_bits(stack: LiveStack):
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
    undisturbed = wait_for_end(client, long_job(client).id)
    assert adapter_of(client, job_id) == adapter_of(client, undisturbed.id)


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

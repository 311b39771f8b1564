"""What the tenants of a live stack do and see while its processes fail."""

import time

import openai

from tests.builders.live_stack import messages
from tests.faults.rig import Rig, end_of


def one_client(rig: Rig) -> openai.OpenAI:
    """A new tenant, whose client never tries again by itself."""
    return rig.live.client(f"t{time.time_ns()}").with_options(max_retries=0)


def succeeds(rig: Rig, client: openai.OpenAI, job_id: str, attempts: int = 1) -> None:
    """The job ends well, at the given attempt, with one version and without a step told twice."""
    job = end_of(client, job_id)
    assert job.status == "succeeded", job.error
    assert len(rig.attempts(job_id)) == attempts
    assert rig.versions(job_id) == 1
    told = [message for message in messages(client, job_id) if message.startswith("Step ")]
    assert len(told) == len(set(told)) or attempts > 1

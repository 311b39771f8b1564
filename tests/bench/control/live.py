"""The whole embedded stack: submission to first step, and how soon a death is seen and made good."""

import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import psutil
from openai import OpenAI
from sqlalchemy import func, select

from orchestrator.db.database import Database
from orchestrator.db.job_tables import AttemptRow, EventRow
from orchestrator.db.tables import HostRow
from tests.bench.control.percentiles import milliseconds
from tests.builders.live_stack import LiveStack, live_stack, submit, upload, wait_for_end
from tests.builders.specs import sum_rows
from tests.builders.waiting import wait_until

LOOK_EVERY_S: Final = 0.01
LONG: Final = 50  # epochs over `MANY` rows; such a job is cancelled in the end
MANY: Final = 400
DEATHS: Final = 5


def live_figures(repeats: int, database_url: str | None = None) -> dict[str, Any]:
    """From sending the POST to the event of the first step, one job after the other, on an otherwise idle stack."""
    with (
        tempfile.TemporaryDirectory(prefix="orchard-bench-") as home,
        patch("orchestrator.embedded.supervisor.STEADY_S", 0.0),  # one that is killed often would be let wait
        live_stack(Path(home), database_url) as stack,
    ):
        client = stack.client("bench")
        file_id = upload(client)
        wait_for_end(client, submit(client, file_id, n_epochs=1).id)  # starts and warms the host
        waits = []
        for _ in range(repeats):
            began = time.perf_counter()
            job = submit(client, file_id, n_epochs=1)
            wait_until(lambda: _stepped(stack.db, job.id), "the first step", 60.0, LOOK_EVERY_S)  # noqa: B023
            waits.append(time.perf_counter() - began)
            wait_for_end(client, job.id)
        hosts = len(stack.hosts())
        many = upload(client, sum_rows(MANY))
        seen = [_death_seen_s(stack, client, many) for _ in range(DEATHS)]
        made_good = [_takeover_s(stack, client, many) for _ in range(DEATHS)]
    return {
        "submit_to_first_step": milliseconds(waits),
        "hosts_ever": hosts,
        "worker_death_seen": milliseconds(seen),
        "orchestrator_killed_to_next_act": milliseconds(made_good),
    }


def _death_seen_s(stack: LiveStack, client: OpenAI, file_id: str) -> float:
    """From `kill -9` of a host that trains to the end of its attempt in the database."""
    job_id = _training(stack, client, file_id)
    with stack.db.read() as session:
        its_host = select(HostRow.pid).join(AttemptRow, AttemptRow.host_id == HostRow.id)
        pid = session.scalars(its_host.where(AttemptRow.job_id == job_id, AttemptRow.ended_at.is_(None))).one()
    began = time.perf_counter()
    os.kill(pid or 0, signal.SIGKILL)
    wait_until(lambda: _attempt_ended(stack.db, job_id), "the death is seen", 60.0, LOOK_EVERY_S)
    took = time.perf_counter() - began
    client.fine_tuning.jobs.cancel(job_id)
    wait_for_end(client, job_id)
    return took


def _takeover_s(stack: LiveStack, client: OpenAI, file_id: str) -> float:
    """From `kill -9` of the orchestrator to the first step that its successor takes in."""
    job_id = _training(stack, client, file_id)
    orchestrator = psutil.Process(stack.child_pid("orchestrator"))
    began = time.perf_counter()
    orchestrator.kill()
    orchestrator.wait()
    told = _last_step(stack.db, job_id)
    wait_until(lambda: _last_step(stack.db, job_id) > told, "somebody acts", 120.0, LOOK_EVERY_S)
    took = time.perf_counter() - began
    client.fine_tuning.jobs.cancel(job_id)
    wait_for_end(client, job_id)
    return took


def _training(stack: LiveStack, client: OpenAI, file_id: str) -> str:
    job_id = submit(client, file_id, n_epochs=LONG).id
    wait_until(lambda: _stepped(stack.db, job_id), "the first step", 120.0, LOOK_EVERY_S)
    return job_id


def _attempt_ended(db: Database, job_id: str) -> bool:
    with db.read() as session:
        ended = select(AttemptRow.number).where(AttemptRow.job_id == job_id, AttemptRow.ended_at.is_not(None))
        return session.scalars(ended).first() is not None


def _last_step(db: Database, job_id: str) -> int:
    last = select(func.max(EventRow.seq)).where(EventRow.job_id == job_id, EventRow.type == "metrics")
    with db.read() as session:
        return session.scalar(last) or 0


def _stepped(db: Database, job_id: str) -> bool:
    first = select(EventRow.seq).where(EventRow.job_id == job_id, EventRow.type == "metrics").limit(1)
    with db.read() as session:
        return session.scalar(first) is not None

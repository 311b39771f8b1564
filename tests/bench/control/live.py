"""Submission to first step, on a host that is warm: the whole embedded stack, as a tenant meets it."""

import tempfile
import time
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select

from orchestrator.db.database import Database
from orchestrator.db.job_tables import EventRow
from tests.bench.control.percentiles import milliseconds
from tests.builders.live_stack import live_stack, submit, upload, wait_for_end
from tests.builders.waiting import wait_until

LOOK_EVERY_S: Final = 0.01


def live_figures(repeats: int, database_url: str | None = None) -> dict[str, Any]:
    """From sending the POST to the event of the first step, one job after the other, on an otherwise idle stack."""
    with tempfile.TemporaryDirectory(prefix="orchard-bench-") as home, live_stack(Path(home), database_url) as stack:
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
    return {"submit_to_first_step": milliseconds(waits), "hosts_ever": hosts}


def _stepped(db: Database, job_id: str) -> bool:
    first = select(EventRow.seq).where(EventRow.job_id == job_id, EventRow.type == "metrics").limit(1)
    with db.read() as session:
        return session.scalar(first) is not None

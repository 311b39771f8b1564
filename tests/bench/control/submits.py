"""Submissions over HTTP, to the API's own process."""

import asyncio
import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil

from orchestrator.catalogue.file import dump_catalogue
from orchestrator.db.database import Database
from orchestrator.embedded.ports import LOOPBACK, free_ports
from orchestrator.embedded.services import api_server
from orchestrator.tenancy.keys import create_tenant_key
from tests.bench.control.databases import autovacuum
from tests.bench.control.load import Answers, all_busy, at_rate, post
from tests.bench.control.percentiles import milliseconds
from tests.bench.processor import pace_ms
from tests.builders.live_api import make_catalogue
from tests.builders.rows import make_file, make_tenant
from tests.builders.waiting import wait_until

TENANTS: Final = 20
RATE: Final = 100.0
SENDERS: Final = 8
WARM_UP_S: Final = 1.0
_numbers = itertools.count()


def submit_figures(url: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Submissions a second, and their latencies at a fixed rate."""
    db = Database(url)
    requests = [_request(db, number) for number in range(TENANTS)]
    db.dispose()
    with serving(url, folder) as (port, process):
        asyncio.run(all_busy(LOOPBACK, port, requests, SENDERS, WARM_UP_S))
        db = Database(url)
        autovacuum(db)
        db.dispose()
        steady = asyncio.run(at_rate(LOOPBACK, port, requests, RATE, seconds))
        pace = pace_ms()
        before = process.cpu_times()
        busy = asyncio.run(all_busy(LOOPBACK, port, requests, SENDERS, seconds))
        spent = process.cpu_times()
        pace_after = pace_ms()
    cpu_s = spent.user + spent.system - before.user - before.system
    return {
        "submits_per_s": round(len(busy.seconds) / busy.elapsed_s, 1),
        "senders": SENDERS,
        "pace_ms_around": [pace, pace_after],
        "api_cpu_ms_per_submit": round(1000 * cpu_s / len(busy.seconds), 3),
        "busy": milliseconds(busy.seconds),
        "rate_per_s": RATE,
        "at_rate": milliseconds(steady.seconds),
        "refused": _refused(busy) + _refused(steady),
    }


@contextmanager
def serving(url: str, folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """`python -m api.serve` as the stack starts it; its port and process."""
    (port,) = free_ports(1)
    catalogue = folder / "catalogue.yaml"
    catalogue.write_text(dump_catalogue(make_catalogue()))
    env = {
        "ORCHARD_DATABASE_URL": url,
        "ORCHARD_STORAGE_URI": (folder / "storage").as_uri(),
        "ORCHARD_CATALOGUE": str(catalogue),
        "ORCHARD_CACHE_DIR": str(folder / "cache"),
        "ORCHARD_PORT": str(port),
        "ORCHARD_ONE_CORE": "true",  # as `orchard up` has it
    }
    child = api_server(env, LOOPBACK, port)
    with (folder / "api.log").open("ab") as log:
        process = subprocess.Popen(child.argv, env=os.environ | env, stdout=log, stderr=log)
        try:
            wait_until(child.ready, "the API serves", 60.0)
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(30)


def _request(db: Database, number: int) -> bytes:
    tenant = make_tenant(db, f"bench-{number}")
    _, key = create_tenant_key(db, tenant.slug, "bench", datetime.now(UTC))
    file = make_file(db, tenant)
    hyperparameters = {"n_epochs": 2, "batch_size": 4}
    body = {
        "model": "tiny",
        "training_file": file.id,
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        "x_orchard": {"training": {"learning_rate": 1e-3}, "data": {"max_seq_len": 128}},
    }
    return post("/v1/fine_tuning/jobs", key, json.dumps(body).encode())


def _refused(answers: Answers) -> int:
    return sum(count for status, count in answers.statuses.items() if status != 200)

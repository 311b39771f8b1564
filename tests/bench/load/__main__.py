"""`python -m tests.bench.load [--engines sqlite,postgresql] [--seconds 30] --json`.

One API process as `orchard up` starts it. 50 stock clients submit, poll and cancel; 500 event streams of one tenant
receive an event a second each; files of 100 MB are uploaded. Another tenant asks 20 small things a second, before and
meanwhile: what it waits is the figure. Exits with 1 on any error, and when its p99 exceeds 100 ms.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, Final

import psutil

from orchestrator.db.database import Database
from orchestrator.db.job_tables import EventRow
from orchestrator.db.states import JobState
from orchestrator.db.tables import TenantRow
from orchestrator.embedded.ports import LOOPBACK
from orchestrator.tenancy.keys import create_tenant_key
from tests.bench.control.databases import ENGINES, autovacuum, fresh_database
from tests.bench.control.submits import serving
from tests.bench.load.bystander import ask
from tests.bench.load.clients import submit_and_poll, upload_large_files
from tests.bench.load.streams import follow_all
from tests.bench.processor import describe_box, load_average, pace_ms
from tests.builders.rows import make_file, make_job, make_tenant

CLIENTS: Final = 50
STREAMS: Final = 500
STREAMED_JOBS: Final = 10
KEYS: Final = 10
"""Keys of the tenant that streams: a key has a limit of streams."""
BOUND_MS: Final = 100.0
SENDERS: Final = 4  # processes, one for each kind of load
CLIENTS_MODULE: Final = submit_and_poll.__module__
HEAD_START_S: Final = 5.0
"""From the first stream to the first event, in seconds: until then all are open."""
_numbers = count()


@dataclass
class Town:
    """Who takes part, made before the server starts."""

    db: Database
    clients: list[tuple[str, str]]
    streamer: TenantRow
    keys: list[str]
    jobs: list[str]
    uploader: str
    bystander: tuple[str, str]

    @classmethod
    def made(cls, db: Database) -> "Town":
        clients = [make_tenant(db, f"client-{number}") for number in range(CLIENTS)]
        streamer, uploader, other = (make_tenant(db, slug) for slug in ("streamer", "uploader", "bystander"))
        return cls(
            db,
            clients=[(_key(db, tenant), make_file(db, tenant).id) for tenant in clients],
            streamer=streamer,
            keys=[_key(db, streamer) for _ in range(KEYS)],
            jobs=[make_job(db, JobState.QUEUED, streamer).id for _ in range(STREAMED_JOBS)],
            uploader=_key(db, uploader),
            bystander=(_key(db, other), make_job(db, JobState.QUEUED, other).id),
        )

    def tell(self, seconds: float) -> dict[str, list[str]]:
        """An event a second for every streamed job; returns their ids by job."""
        told: dict[str, list[str]] = {job_id: [] for job_id in self.jobs}
        for second in range(int(seconds)):
            began = time.monotonic()
            now = datetime.now(UTC)
            with self.db.write() as session:
                for job_id in self.jobs:
                    event_id = f"ftevent-load-{next(_numbers)}"
                    told[job_id].append(event_id)
                    session.add(self._event(event_id, job_id, second, now))
            time.sleep(max(0.0, began + 1 - time.monotonic()))
        return told

    def _event(self, event_id: str, job_id: str, second: int, now: datetime) -> EventRow:
        return EventRow(
            id=event_id,
            tenant_id=self.streamer.id,
            job_id=job_id,
            created_at=now,
            level="info",
            type="message",
            message=f"Second {second}.",
        )


def _key(db: Database, tenant: TenantRow) -> str:
    return create_tenant_key(db, tenant.slug, "load", datetime.now(UTC))[1]


def load_figures(engine: str, seconds: float) -> dict[str, Any]:
    """The bystander alone, then beside everything at once."""
    with fresh_database(engine) as url, tempfile.TemporaryDirectory(prefix="orchard-load-") as folder:
        db = Database(url)
        town = Town.made(db)
        autovacuum(db)
        with serving(url, Path(folder)) as (port, process):
            figures = _against(f"http://{LOOPBACK}:{port}", town, seconds, process)
        db.dispose()
    return figures


def _against(url: str, town: Town, seconds: float, api: psutil.Process) -> dict[str, Any]:
    keys, files = [key for key, _ in town.clients], [file for _, file in town.clients]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        SENDERS, mp_context=spawn, initializer=import_module, initargs=(CLIENTS_MODULE,)
    ) as senders:
        list(senders.map(time.sleep, [HEAD_START_S] * SENDERS))  # all have started and loaded their libraries
        alone = senders.submit(ask, url, *town.bystander, seconds / 3).result()
        whole = seconds + 2 * HEAD_START_S
        streams = senders.submit(follow_all, url, town.keys, town.jobs, STREAMS, whole)
        time.sleep(HEAD_START_S)
        began = time.monotonic()
        crowd = senders.submit(submit_and_poll, url, keys, files, seconds)
        uploads = senders.submit(upload_large_files, url, town.uploader, seconds)
        beside = senders.submit(ask, url, *town.bystander, seconds)
        told = town.tell(seconds)
        received = streams.result()
        missed = sum(ids[-len(told[job_id]) :] != told[job_id] for job_id, ids in received["ids"])
        return {
            "bystander_alone": alone,
            "bystander_beside": beside.result(),
            "clients": crowd.result(),
            "uploads": uploads.result(),
            "streams": {"open": STREAMS, "errors": received["errors"], "without_every_event": missed},
            "api_rss_mb": round(api.memory_info().rss / 1e6),
            "seconds": round(time.monotonic() - began, 1),
        }


def errors(figures: dict[str, Any]) -> int:
    """How many requests failed, and how many streams missed an event."""
    return (
        figures["bystander_alone"]["errors"]
        + figures["bystander_beside"]["errors"]
        + sum(sum(figures[who]["errors"].values()) for who in ("clients", "uploads", "streams"))
        + figures["streams"]["without_every_event"]
    )


def main() -> None:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.load", description=__doc__)
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--json", action="store_true", help="one JSON object; without it, indented")
    given = parser.parse_args()
    report: dict[str, Any] = {"machine": describe_box() | {"pace_ms": pace_ms()}, "engines": {}}
    with redirect_stdout(sys.stderr):
        for engine in given.engines.split(","):
            figures = load_figures(engine, given.seconds)
            figures["total_errors"] = errors(figures)
            report["engines"][engine] = figures | {"load_average_after": load_average()}
    report["bound_p99_ms"] = BOUND_MS
    report["met"] = all(
        figures["total_errors"] == 0 and figures["bystander_beside"]["p99_ms"] <= BOUND_MS
        for figures in report["engines"].values()
    )
    print(json.dumps(report, indent=None if given.json else 1))
    sys.exit(not report["met"])


if __name__ == "__main__":
    main()

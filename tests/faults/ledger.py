"""`python -m tests.faults.ledger --minutes 10`: random kills at random moments, then the books are compared.

Three tenants upload files and submit jobs with the stock client, and write down what the API acknowledged. Meanwhile
API, orchestrator, hosts, MLflow and PostgreSQL are killed. At the end, files (names and bytes), jobs, registered
versions and billed steps must be those of the tenants' books: nothing lost, nothing twice. Ends with one JSON line.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import openai
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.db.job_tables import JobRow
from orchestrator.lifecycle.invariants import violations
from tests.builders.live_stack import submit
from tests.builders.postgres import own_database, running_postgres
from tests.builders.specs import sum_rows
from tests.builders.waiting import wait_until
from tests.faults.chaos import Chaos
from tests.faults.rig import Rig, running_rig

KINDS = ("kill api", "kill orchestrator", "kill host", "kill host", "kill mlflow", "kill database")
TENANTS = 3
PAUSE_S = (1.0, 20.0)
"""Between two kills, in seconds."""
TURN_S = 8.0
"""Between two uploads of one tenant, in seconds."""
DRAIN_S = 900.0
ROWS = sum_rows(12, start=10)  # equal lengths, so that every step has the same number of tokens
BATCH = 4
EPOCHS = (2, 4, 10, 30)
T = TypeVar("T")


@dataclass
class Book:
    """What one tenant was told: file id to bytes, and job id to steps."""

    client: openai.OpenAI
    files: dict[str, bytes] = field(default_factory=dict)
    jobs: dict[str, int] = field(default_factory=dict)
    unanswered: int = 0
    """Uploads without an answer: each may have made a file."""

    def turn(self, rng: random.Random) -> None:
        """Upload a file that no other equals, and submit a job over it."""
        data = "".join(json.dumps(row) + " " * rng.randrange(40) + "\n" for row in ROWS).encode()
        file_id = self._upload(data)
        epochs = rng.choice(EPOCHS)
        # One key for all tries: whatever was not answered is asked again, and may have been done.
        sender = self.client.with_options(default_headers={"Idempotency-Key": str(uuid.uuid4())})
        options = {"n_epochs": epochs, "checkpoint_interval_steps": 2}
        job = until_answered(lambda: submit(sender, file_id, **options))
        self.jobs[job.id] = epochs * len(ROWS) // BATCH

    def _upload(self, data: bytes) -> str:
        """Upload until it is answered. The client does not try again by itself, so that tries can be counted."""

        def once() -> str:
            self.unanswered += 1
            found = self.client.with_options(max_retries=0).files.create(file=("t.jsonl", data), purpose="fine-tune")
            self.unanswered -= 1
            return found.id

        file_id = until_answered(once)
        self.files[file_id] = data
        return file_id

    def billed_tokens(self) -> int:
        """Of all the tenant's jobs, as its usage report has them."""
        page: Any = self.client.get("/usage", cast_to=object, options={"params": {"bucket": "day"}})
        return sum(result["billable"]["tokens"] for bucket in page["data"] for result in bucket["results"])


def until_answered(ask: Callable[[], T]) -> T:
    """Ask until the API answers. Raises what it answers, unless that is a fault of its own."""
    while True:
        try:
            return ask()
        except (openai.APIConnectionError, openai.InternalServerError):
            time.sleep(0.5)


@dataclass
class Ledger:
    """One run. `rng` decides what dies, and when."""

    rig: Rig
    rng: random.Random

    def run(self, minutes: float) -> dict[str, Any]:
        """Work and kill for so long, let everything end, and compare."""
        books = [Book(self.rig.live.client(f"books-{number}")) for number in range(TENANTS)]
        a_step = self._tokens_a_step(books[0])
        kinds = [
            kind for kind in KINDS if kind != "kill database" or self.rig.live.db.engine.dialect.name == "postgresql"
        ]
        chaos, over = Chaos(self.rig, self.rng, kinds), threading.Event()
        seeds = [self.rng.random() for _ in books]
        workers = [
            threading.Thread(target=self._work, args=(book, random.Random(seed), over), daemon=True)
            for book, seed in zip(books, seeds, strict=True)
        ]
        for worker in workers:
            worker.start()
        until = time.monotonic() + minutes * 60
        while time.monotonic() < until:
            time.sleep(self.rng.uniform(*PAUSE_S))
            chaos.strike()
        over.set()
        for worker in workers:
            worker.join()
        self._settle()
        return self._compare(books, a_step) | {"faults": dict(chaos.faults)}

    def _tokens_a_step(self, book: Book) -> int:
        """Tokens of one step, by a job that nothing disturbs."""
        book.turn(self.rng)
        self._settle()
        ((_, steps),) = book.jobs.items()
        tokens, rest = divmod(book.billed_tokens(), steps)
        assert rest == 0, "the rows are not of equal length"
        return tokens

    @staticmethod
    def _work(book: Book, rng: random.Random, over: threading.Event) -> None:
        while not over.wait(TURN_S * rng.uniform(0.5, 1.5)):
            book.turn(rng)

    def _settle(self) -> None:
        """Wait until no job is live."""
        live = select(func.count()).where(JobRow.finished_at.is_(None))
        wait_until(lambda: not self._ask(live), "every job ends", DRAIN_S, pause_s=1)

    def _ask(self, query: Any) -> int:
        try:
            with self.rig.live.db.read() as session:
                return session.scalar(query) or 0
        except SQLAlchemyError as error:  # the pool's connections died with the server
            print(f"asking again: {type(error).__name__}", file=sys.stderr)
            return -1

    def _compare(self, books: list[Book], a_step: int) -> dict[str, Any]:
        booked, found = _zero(), _zero()
        wrong: list[str] = []
        for book in books:
            booked["jobs"] += len(book.jobs)
            booked["versions"] += len(book.jobs)
            booked["files"] += len(book.files)
            booked["billed_steps"] += sum(book.jobs.values())
            jobs = {job.id: job for job in book.client.fine_tuning.jobs.list(limit=100)}
            found["jobs"] += len(jobs)
            versions = {job_id: self.rig.versions(job_id) for job_id in jobs}
            found["versions"] += sum(versions.values())
            found["billed_steps"] += self._billed_steps(book, a_step, wrong)
            wrong += [f"{job_id}: nobody was told of it" for job_id in jobs.keys() - book.jobs.keys()]
            wrong += [f"{job_id}: lost" for job_id in book.jobs.keys() - jobs.keys()]
            wrong += [f"{job.id}: {job.status}: {job.error}" for job in jobs.values() if job.status != "succeeded"]
            wrong += [f"{job_id}: {count} versions" for job_id, count in versions.items() if count != 1]
            found["files"] += self._files(book, wrong)
        with self.rig.live.db.read() as session:
            wrong += [f"invariant: {violation}" for violation in violations(session, datetime.now(UTC))]
        return {"booked": booked, "found": found, "wrong": wrong}

    def _billed_steps(self, book: Book, a_step: int, wrong: list[str]) -> int:
        steps, rest = divmod(book.billed_tokens(), a_step)
        if rest:
            wrong.append(f"{rest} billed tokens are no whole step")
        return steps

    def _files(self, book: Book, wrong: list[str]) -> int:
        """How many of the tenant's own files there are, without those whose upload was not answered."""
        listed = [file.id for file in book.client.files.list(limit=100, purpose="fine-tune")]
        unasked = set(listed) - book.files.keys()
        if len(unasked) > book.unanswered:
            wrong.append(f"{len(unasked)} files were not acknowledged, of {book.unanswered} uploads without an answer")
        wrong += [f"{file_id}: listed twice" for file_id in set(listed) if listed.count(file_id) > 1]
        wrong += [
            f"{file_id}: other bytes"
            for file_id, data in book.files.items()
            if file_id in listed and book.client.files.content(file_id).read() != data
        ]
        return len(book.files.keys() & set(listed))


def _zero() -> dict[str, int]:
    return dict.fromkeys(("jobs", "versions", "files", "billed_steps"), 0)


@contextmanager
def _stack(engine: str, folder: Path) -> Iterator[Rig]:
    if engine == "sqlite":
        with running_rig(folder) as rig:
            yield rig
        return
    with running_postgres() as server, own_database(server, "ledger") as url, running_rig(folder, url) as rig:
        yield rig


def main() -> None:
    """Run, print, and exit with 1 unless the books agree and something was killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--engine", choices=("postgresql", "sqlite"), default="postgresql")
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    seed = time.time_ns() % 1_000_000 if options.seed is None else options.seed
    with tempfile.TemporaryDirectory(prefix="orchard-ledger-") as folder, _stack(options.engine, Path(folder)) as rig:
        account = Ledger(rig, random.Random(seed)).run(options.minutes)
    print(json.dumps({"seed": seed, "minutes": options.minutes, "engine": options.engine} | account))
    sys.exit(account["booked"] != account["found"] or bool(account["wrong"]) or not account["faults"])


if __name__ == "__main__":
    main()

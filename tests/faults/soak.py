"""`python -m tests.faults.soak --minutes 10`: steady submissions, a random fault every 30 s, then an account of it all.

Ends with one JSON line: jobs, succeeded, lost (without a good end though nobody cancelled them), duplicated (steps
told twice within an attempt, versions beyond one), leaked (seats, hosts), violations, faults, memory growth.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import openai
import psutil
from sqlalchemy import func, select

from orchestrator.db.host_states import HOLDS_DEVICE
from orchestrator.db.job_tables import AttemptRow, EventRow, JobRow
from orchestrator.db.tables import HostRow
from orchestrator.lifecycle.invariants import violations
from tests.builders.live_stack import submit, upload
from tests.builders.waiting import wait_until
from tests.faults.chaos import CHILDREN, Chaos
from tests.faults.rig import Rig, running_rig

FAULT_EVERY_S = 30.0
SUBMIT_EVERY_S = 4.0
DRAIN_S = 600.0
KINDS = ("kill host", "kill orchestrator", "kill api", "kill mlflow", "stop one")


@dataclass
class Soak:
    """One run. `rng` decides which fault comes next."""

    rig: Rig
    rng: random.Random
    jobs: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._chaos = Chaos(self.rig, self.rng, KINDS, self.faults)

    def run(self, minutes: float) -> dict[str, object]:
        """Submit and break things for so long, then let everything end."""
        client = self.rig.live.client("soak").with_options(max_retries=8)
        file_id = upload(client)
        self._submit(client, file_id)
        self._settle()
        before, began = self._memory(), time.monotonic()
        next_fault = began + FAULT_EVERY_S
        while time.monotonic() < began + minutes * 60:
            self._submit(client, file_id)
            if time.monotonic() >= next_fault:
                self._chaos.strike()
                next_fault += FAULT_EVERY_S
            time.sleep(SUBMIT_EVERY_S)
        self._settle()
        return self._account(before)

    def _submit(self, client: openai.OpenAI, file_id: str) -> None:
        """One job; the stock client tries again while the API is away, and makes one job of it all the same."""
        epochs = self.rng.choice((2, 4, 10))
        try:
            self.jobs.append(submit(client, file_id, n_epochs=epochs, checkpoint_interval_steps=2).id)
        except openai.APIError as error:
            self.faults[f"not submitted: {type(error).__name__}"] += 1

    def _settle(self) -> None:
        """Until no job is live."""

        def live() -> int:
            with self.rig.live.db.read() as session:
                return session.scalar(select(func.count()).where(JobRow.finished_at.is_(None))) or 0

        wait_until(lambda: not live(), "every job ends", DRAIN_S, pause_s=1)

    def _memory(self) -> dict[str, int]:
        """Resident bytes of the processes that live through everything but kills."""
        return {child: psutil.Process(self.rig.live.child_pid(child)).memory_info().rss for child in CHILDREN}

    def _account(self, before: dict[str, int]) -> dict[str, object]:
        after = self._memory()
        with self.rig.live.db.read() as session:
            rows = {row.id: row for row in session.scalars(select(JobRow))}
            told = session.execute(
                select(EventRow.job_id, EventRow.moved_to, func.count())
                .where(EventRow.moved_to == "succeeded")
                .group_by(EventRow.job_id, EventRow.moved_to)
                .having(func.count() > 1)
            ).all()
            seats = session.scalar(select(func.count()).where(AttemptRow.ended_at.is_(None))) or 0
            wanted = set(session.scalars(select(HostRow.pid).where(HostRow.state.in_(HOLDS_DEVICE))))
            broken = violations(session, datetime.now(UTC))
        succeeded = [job_id for job_id, row in rows.items() if row.state == "succeeded"]
        lost = [job_id for job_id in self.jobs if job_id not in rows or rows[job_id].state != "succeeded"]
        unasked = [job_id for job_id in rows if job_id not in self.jobs]
        doubled = [job_id for job_id in succeeded if self.rig.versions(job_id) != 1]
        return {
            "jobs": len(self.jobs),
            "succeeded": len(succeeded),
            "lost": len(lost),
            "duplicated": len(told) + len(doubled) + len(unasked),
            "leaked": seats + len(self.rig.host_processes() - wanted),
            "violations": len(broken),
            "faults": dict(self.faults),
            "memory_growth": {name: round(after[name] / before[name] - 1, 3) for name in before},
            "why_lost": [rows[job_id].error_message if job_id in rows else "gone" for job_id in lost[:5]],
        }


def main() -> None:
    """Run, print, and exit with 1 unless nothing was lost, doubled, leaked or broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    seed = time.time_ns() % 1_000_000 if options.seed is None else options.seed
    with tempfile.TemporaryDirectory(prefix="orchard-soak-") as folder, running_rig(Path(folder)) as rig:
        account = Soak(rig, random.Random(seed)).run(options.minutes)
    print(json.dumps({"seed": seed, "minutes": options.minutes} | account))
    bad = ("lost", "duplicated", "leaked", "violations")
    sys.exit(any(account[name] for name in bad) or not account["faults"])


if __name__ == "__main__":
    main()

"""`Rig`: a live stack whose processes fail where and when a test says."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import openai
import psutil
from openai.types.fine_tuning import FineTuningJob
from sqlalchemy import select

from orchestrator.db.host_states import HOLDS_DEVICE
from orchestrator.db.job_tables import AttemptRow, JobRow
from orchestrator.db.tables import HostRow
from orchestrator.embedded.process_registry import MARK
from orchestrator.lifecycle.invariants import violations
from tests.builders.live_stack import LiveStack, details, live_stack, wait_for_end
from tests.builders.waiting import wait_until

LEASE_TTL_S = 20
PATIENCE_S = 300
"""How long a test waits for what must come. Nothing is judged by how soon it does."""


@dataclass
class Rig:
    """Arm a failpoint, see it fire, look at what is left."""

    live: LiveStack
    armed: Path
    log: Path

    def arm(self, name: str, mode: str = "kill9") -> None:
        """Have the next process that passes `name` fail there."""
        self._seen = self.firings(name)
        draft = self.armed / f".{name}"
        draft.write_text(mode)
        draft.rename(self.armed / name)

    def firings(self, name: str) -> int:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return sum(line.startswith(f"{name} ") for line in lines)

    def fired(self, name: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait for the proof that the armed place was passed."""
        wait_until(lambda: self.firings(name) > self._seen, f"{name} fires", timeout_s)

    def kill(self, child: str) -> int:
        """`kill -9` a child of the stack and wait for its successor."""
        pid = self.live.child_pid(child)
        os.kill(pid, signal.SIGKILL)
        self.replaced(child, pid)
        return pid

    def replaced(self, child: str, pid: int) -> None:
        wait_until(lambda: self.live.child_pid(child) != pid, f"another {child} than {pid}", PATIENCE_S)

    @contextmanager
    def standing_still(self, pid: int) -> Iterator[None]:
        """SIGSTOP `pid` inside, SIGCONT after."""
        os.kill(pid, signal.SIGSTOP)
        stopped = lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED  # noqa: E731
        wait_until(stopped, f"{pid} stands still")
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def job(self, job_id: str) -> JobRow:
        with self.live.db.read() as session:
            return session.scalars(select(JobRow).where(JobRow.id == job_id)).one()

    def attempts(self, job_id: str) -> list[AttemptRow]:
        with self.live.db.read() as session:
            return list(
                session.scalars(select(AttemptRow).where(AttemptRow.job_id == job_id).order_by(AttemptRow.number))
            )

    def host_of(self, job_id: str) -> HostRow:
        """The host on which the job has, or had, its last attempt."""
        with self.live.db.read() as session:
            return session.get_one(HostRow, self.attempts(job_id)[-1].host_id)

    def folder_of(self, job_id: str) -> Path:
        """Where the job's checkpoints and adapter lie."""
        return Path(self.job(job_id).spec["output_uri"].removeprefix("file://"))

    def host_processes(self) -> set[int]:
        """Ids of the processes of this stack that hold a base, or are about to."""
        found = set()
        for process in psutil.process_iter(["cmdline"]):
            try:
                ours = process.environ().get(MARK) == str(self.live.stack.home)
            except (psutil.Error, OSError):
                continue
            if ours and (process.info["cmdline"] or [""])[0].startswith("ray::HostActor"):
                found.add(process.pid)
        return found

    def versions(self, job_id: str) -> int:
        """How many registered versions the job has in MLflow, asked of its database."""
        import sqlite3

        query = "SELECT count(*) FROM model_version_tags WHERE key = 'orchard.job_id' AND value = ?"
        with sqlite3.connect(self.live.stack.home / "mlflow" / "mlflow.sqlite", timeout=30) as mlflow:
            return int(mlflow.execute(query, (job_id,)).fetchone()[0])

    def check(self) -> None:
        """Nothing is armed any more, no invariant is broken, and no host lives that no row wants."""
        left = sorted(path.name for path in self.armed.iterdir())
        for name in left:
            (self.armed / name).unlink()
        assert not left, f"armed, but never passed: {left}"
        wait_until(lambda: not self._leaks(), "no host lives that no row wants", 60, pause_s=0.5)
        with self.live.db.read() as session:
            broken = violations(session, datetime.now(UTC))
        assert broken == [], broken

    def _leaks(self) -> set[int]:
        with self.live.db.read() as session:
            wanted = session.scalars(select(HostRow.pid).where(HostRow.state.in_(HOLDS_DEVICE))).all()
        return set() if None in wanted else self.host_processes() - set(wanted)


@contextmanager
def running_rig(folder: Path, database_url: str | None = None) -> Iterator[Rig]:
    """A stack with failpoints that can be armed, and with leases short enough to outwait."""
    armed, log = folder / "armed", folder / "fired.log"
    armed.mkdir()
    env = {
        "ORCHARD_FAIL": f"@{armed}",
        "ORCHARD_FAIL_LOG": str(log),
        "ORCHARD_LEASE_TTL_S": str(LEASE_TTL_S),
        "ORCHARD_KEEP_CHECKPOINTS": "5",
        "OMP_NUM_THREADS": "1",
    }
    # A child that dies often is started again ever later; here it is always the first time.
    with (
        patch.dict(os.environ, env),
        patch("orchestrator.embedded.supervisor.STEADY_S", 0.0),
        live_stack(folder, database_url) as live,
    ):
        yield Rig(live, armed, log)


def step_of(client: openai.OpenAI, job_id: str) -> int:
    """The last step that the job's owner can see."""
    return int(details(client.fine_tuning.jobs.retrieve(job_id))["step"])


def end_of(client: openai.OpenAI, job_id: str) -> FineTuningJob:
    """The job once it is over, with patience for a busy machine."""
    return wait_for_end(client, job_id, PATIENCE_S)

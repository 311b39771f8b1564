"""Several real orchestrator processes on one database: one acts, and whatever happens to it, another follows."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

import orchestrator
from orchestrator.catalogue.file import dump_catalogue
from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import JobState
from orchestrator.db.tables import LeaseRow
from tests.builders.ports import claimed_port
from tests.builders.rows import make_job
from tests.builders.specs import make_dataset
from tests.builders.waiting import wait_until
from tests.builders.world import make_catalogue

pytestmark = pytest.mark.slow

TTL_S = 5
CHECKOUT = Path(orchestrator.__file__).parents[1]


class Fleet:
    """Orchestrators as processes. There is no Ray, so all they can do is validate; that shows who acts."""

    def __init__(self, db: Database, url: str, folder: Path) -> None:
        self.db, self._folder = db, folder
        catalogue = folder / "catalogue.yaml"
        catalogue.write_text(dump_catalogue(make_catalogue()))
        self._settings = {
            "ORCHARD_DATABASE_URL": url,
            "ORCHARD_STORAGE_URI": folder.as_uri(),
            "ORCHARD_CATALOGUE": str(catalogue),
            "ORCHARD_CACHE_DIR": str(folder),
            "ORCHARD_RAY_ADDRESS": f"127.0.0.1:{claimed_port()}",
            "ORCHARD_ROLE_TTL_S": str(TTL_S),
            "ORCHARD_LOOP_INTERVAL_S": "0.2",
            "ORCHARD_HEALTH_PORT": "0",
            "PYTHONPATH": str(CHECKOUT),
        }
        self._training = make_dataset(folder / "train.jsonl")
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        """One more, up to its first log line."""
        log = self._log(len(self.processes))
        with log.open("wb") as sink:
            environment = os.environ | self._settings
            process = subprocess.Popen([sys.executable, "-m", "orchestrator"], env=environment, stderr=sink)
        self.processes.append(process)
        self.wait_for_log(process, "orchestrator started")
        return process

    def run(self, **changes: str) -> subprocess.CompletedProcess[str]:
        """One that is expected to end by itself."""
        command, environment = [sys.executable, "-m", "orchestrator"], os.environ | self._settings | changes
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    def wait_for_log(self, process: subprocess.Popen[bytes], line: str) -> None:
        log = self._log(self.processes.index(process))
        wait_until(lambda: line in log.read_text(), f"{line!r} in the log", timeout_s=60)

    def ready(self, process: subprocess.Popen[bytes], path: str = "/readyz") -> tuple[int, dict[str, Any]]:
        """What its probe answers, on the port that its log names."""
        lines = self._log(self.processes.index(process)).read_text().splitlines()
        started = next(json.loads(line) for line in lines if "orchestrator started" in line)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{started['health_port']}{path}", timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            return refused.code, json.load(refused)

    def wait_for_role(self, process: subprocess.Popen[bytes], role: str) -> dict[str, Any]:
        """Wait until its probe is ready in that role; what it says."""
        right = lambda: (said := self.ready(process)) and said[0] == 200 and said[1]["role"] == role and said[1]  # noqa: E731
        return wait_until(right, f"{process.pid} is {role}")

    def wait_for_holder(self, process: subprocess.Popen[bytes], timeout_s: float = 20) -> int:
        """Wait until the process holds the role; its term."""
        holds = lambda: (held := self.lease()) and f"/{process.pid}:" in held.holder and held  # noqa: E731
        return wait_until(holds, f"process {process.pid} holds the role", timeout_s).term

    def lease(self) -> LeaseRow | None:
        with self.db.read() as session:
            return session.scalars(select(LeaseRow)).one_or_none()

    def submit(self) -> str:
        return make_job(self.db, JobState.VALIDATING, spec_changes={"training": self._training}).id

    def wait_until_acted_on(self, job_id: str) -> None:
        def validated() -> bool:
            with self.db.read() as session:
                wanted = select(JobRow.training_encoding).where(JobRow.id == job_id)
                return session.scalars(wanted).one() is not None  # no encoder is here to go on with it

        wait_until(validated, "an orchestrator acts")

    def _log(self, number: int) -> Path:
        return self._folder / f"orchestrator-{number}.log"


@pytest.fixture
def fleet(db: Database, database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(db, database_url, tmp_path)
    yield fleet
    for process in fleet.processes:
        process.kill()
        process.wait()


def test_another_acts_when_the_first_is_killed_or_told_to_end(fleet: Fleet):
    first = fleet.start()
    fleet.wait_for_holder(first)
    second = fleet.start()
    fleet.wait_until_acted_on(fleet.submit())
    assert fleet.wait_for_holder(first) == 1, "the second stands by"
    first.kill()
    first.wait()
    fleet.wait_until_acted_on(fleet.submit())
    assert fleet.wait_for_holder(second) == 2
    third = fleet.start()
    second.terminate()
    assert second.wait(20) == 0
    assert fleet.wait_for_holder(third) == 3
    fleet.wait_until_acted_on(fleet.submit())


def test_one_that_is_stopped_is_followed_and_stands_by_when_it_wakes(fleet: Fleet):
    stopped = fleet.start()
    fleet.wait_for_holder(stopped)
    other = fleet.start()
    os.kill(stopped.pid, signal.SIGSTOP)
    assert fleet.wait_for_holder(other) == 2
    fleet.wait_until_acted_on(fleet.submit())
    os.kill(stopped.pid, signal.SIGCONT)
    fleet.wait_for_log(stopped, "role lost")
    fleet.wait_until_acted_on(fleet.submit())
    assert fleet.wait_for_holder(other) == 2
    assert stopped.poll() is None, "it lives, and waits for its turn"


def test_probes_tell_who_leads_and_who_stands_by(fleet: Fleet):
    first = fleet.start()
    said = fleet.wait_for_role(first, "leader")
    assert said["last_pass_age_s"] < 30
    assert said["loops"].keys() >= {"role", "control", "validate", "publish"}
    assert not said["loops"]["control"]["late"]
    second = fleet.start()
    assert fleet.wait_for_role(second, "standby")["ready"]
    assert fleet.ready(second, "/healthz") == (200, {"status": "ok"})
    assert fleet.ready(second, "/metrics")[0] == 404
    first.kill()
    first.wait()
    fleet.wait_for_role(second, "leader")


def test_a_taken_port_of_probes_ends_the_process_with_the_setting_named(fleet: Fleet):
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = fleet.run(ORCHARD_HEALTH_PORT=str(other.getsockname()[1]))
    assert done.returncode == 1
    assert "set ORCHARD_HEALTH_PORT" in done.stderr


def test_wrong_settings_are_named_by_their_variables(fleet: Fleet):
    done = fleet.run(ORCHARD_STORAGE_URI="file:///x", ORCHARD_ROLE_TTL_S="soon")
    assert done.returncode == 1
    assert "ORCHARD_ROLE_TTL_S" in done.stderr
    assert "Traceback" not in done.stderr

"""`Chaos`: one random fault after another in a live stack, as the soak and the ledger have them."""

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psutil
import psycopg
from sqlalchemy import make_url

from tests.builders.waiting import wait_until
from tests.faults.rig import PATIENCE_S, Rig

CHILDREN = ("api", "orchestrator", "mlflow")
HALTS_S = (3, 10)
"""How long a stopped process is stopped, in seconds."""


@dataclass
class Chaos:
    """`rng` decides which of `kinds` comes next: "kill" or "stop", and a child, "host", "one" or "database"."""

    rig: Rig
    rng: random.Random
    kinds: Sequence[str]
    faults: Counter[str] = field(default_factory=Counter)

    def strike(self) -> None:
        """Inject one fault, wait until what died has a successor, and count it."""
        verb, _, target = self.rng.choice(self.kinds).partition(" ")
        target = self.rng.choice(("host", *CHILDREN)) if target == "one" else target
        try:
            if verb == "stop":
                self._stop(target)
            elif target == "host":
                self.rng.choice(self._hosts()).kill()
            elif target == "database":
                self._crash_database()
            else:
                self.rig.kill(target)
        except (IndexError, psutil.NoSuchProcess):  # nothing of the kind lives now
            return
        self.faults[f"{verb} {target}"] += 1
        print(f"{datetime.now(UTC):%H:%M:%S} {verb} {target}", file=sys.stderr, flush=True)

    def _stop(self, target: str) -> None:
        """SIGSTOP for a few seconds."""
        pid = self.rng.choice(self._hosts()).pid if target == "host" else self.rig.live.child_pid(target)
        with self.rig.standing_still(pid):
            time.sleep(self.rng.choice(HALTS_S))

    def _hosts(self) -> list[psutil.Process]:
        return [psutil.Process(pid) for pid in sorted(self.rig.host_processes())]

    def _crash_database(self) -> None:
        """`kill -9` a backend of PostgreSQL: the server then ends all its processes and recovers from its log."""
        url = make_url(self.rig.live.stack.database_url)
        server = url.set(drivername="postgresql", database="postgres").render_as_string(hide_password=False)
        with psycopg.connect(server, autocommit=True) as witness:
            query = "SELECT pid FROM pg_stat_activity WHERE datname = %s"
            victims = [pid for (pid,) in witness.execute(query, (url.database,))]
            os.kill(self.rng.choice(victims), signal.SIGKILL)
            wait_until(lambda: not _answers(witness), "the server has noticed", PATIENCE_S)
        wait_until(lambda: _opens(server), "the server has recovered", PATIENCE_S)


def _answers(connection: psycopg.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def _opens(server: str) -> bool:
    try:
        psycopg.connect(server).close()
    except psycopg.OperationalError:
        return False
    return True

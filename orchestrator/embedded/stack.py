"""`EmbeddedStack`: Ray, MLflow, the database, the API and the orchestrator on one machine, behind `up` and `down`."""

import contextlib
import fcntl
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final, Self

import structlog

from orchestrator.catalogue.file import load_catalogue
from orchestrator.embedded.child import ChildSpec
from orchestrator.embedded.ports import LOOPBACK, free_ports, listens
from orchestrator.embedded.process_registry import MARK, ProcessRegistry
from orchestrator.embedded.ray_head import (
    RayPorts,
    make_temp_dir,
    ray_environment,
    ray_head,
    remove_temp_dir,
    write_token,
)
from orchestrator.embedded.services import DRAIN_S, api_server, mlflow_server, orchestrator_loop
from orchestrator.embedded.supervisor import Supervisor
from workers.contract.encoding import ENCODER_RESOURCE

MAX_ENCODERS: Final = 64
"""As many as `ORCHARD_ENCODERS` may ask for."""
WATCH_S: Final = 0.5
log = structlog.get_logger(__name__)


class StackRunning(Exception):
    """A stack of this home is up already."""


class PortTaken(Exception):
    """Another program listens on a port the stack was told to use."""


@dataclass(frozen=True)
class StackOptions:
    """What an operator may choose. Port 0: any free one."""

    home: Path
    catalogue: Path
    host: str = LOOPBACK
    port: int = 8000
    mlflow_port: int = 5000
    database_url: str | None = None
    """None: SQLite in the home."""


class EmbeddedStack:
    """One stack in one home folder. As a context manager it is up inside and down after, whatever happens.

    `environment` is what its processes, and those that join them (a second orchestrator, a test), need.
    """

    def __init__(self, options: StackOptions, tell: Callable[[str], None] = lambda _: None) -> None:
        """`tell` hears, in words, what a slow start or stop waits for."""
        self._tell = tell
        self.home = options.home.resolve()
        free = free_ports(6)
        self._options = options
        self._ray_ports = RayPorts(*free[:3])
        self.port = options.port or free[3]
        self.mlflow_port = options.mlflow_port or free[4]
        self.health_port = free[5]
        self.api_url = f"http://{LOOPBACK if options.host == '0.0.0.0' else options.host}:{self.port}"  # noqa: S104
        self.mlflow_url = f"http://{LOOPBACK}:{self.mlflow_port}"
        self.ray_address = f"{LOOPBACK}:{self._ray_ports.head}"
        self.token = self.home / "run" / "ray_token"
        self.database_url = options.database_url or f"sqlite:///{self.home / 'orchard.sqlite'}"
        self.supervisor = Supervisor(self.home)
        self._lock: IO[str] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Settings of the control plane, and what a Ray driver needs. A secret only if the database URL holds one."""
        return {
            MARK: str(self.home),
            "ORCHARD_DATABASE_URL": self.database_url,
            "ORCHARD_STORAGE_URI": (self.home / "storage").as_uri(),
            "ORCHARD_MLFLOW_URI": self.mlflow_url,
            "ORCHARD_RAY_ADDRESS": self.ray_address,
            "ORCHARD_CATALOGUE": str(self._options.catalogue.resolve()),
            "ORCHARD_CACHE_DIR": str(self.home / "cache"),
            "ORCHARD_HOST": self._options.host,
            "ORCHARD_PORT": str(self.port),
            "ORCHARD_ONE_CORE": os.environ.get("ORCHARD_ONE_CORE", "true"),  # all its processes share this machine
            "ORCHARD_HEALTH_PORT": "0",  # of processes that join; the stack's own orchestrator has `health_port`
            **ray_environment(self.token),
        }

    def up(self) -> None:
        """Start everything and wait until it serves. Raises: StackRunning, PortTaken, ChildFailed."""
        self._take_home()
        try:
            self._require_ports()
            self._migrate()
            temp_dir = make_temp_dir(self.home)
            self.supervisor.start(self._marked(spec) for spec in self._children(temp_dir))
            self.supervisor.wait_ready(self._tell)
        except BaseException:
            self.down()
            raise
        log.info("stack_up", api=self.api_url, mlflow=self.mlflow_url, ray=self.ray_address)

    def watch(self, stop: threading.Event) -> None:
        """Start again what dies, until `stop` is set."""
        while not stop.wait(WATCH_S):
            self.supervisor.run_once(time.monotonic())

    def down(self) -> None:
        """End everything that was started, hosts included. May be repeated."""
        if self._lock is None:
            return
        self._tell(f"Stopping: running jobs save a checkpoint and go on at the next start (at most {DRAIN_S} s).")
        self.supervisor.stop()
        self.supervisor.roll.kill_all()
        self._keep_ray_logs()
        remove_temp_dir(self.home)
        self._lock.close()
        self._lock = None

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def _children(self, temp_dir: Path) -> tuple[ChildSpec, ...]:
        env = self.environment
        resources = load_catalogue(self._options.catalogue).resources() | {ENCODER_RESOURCE: MAX_ENCODERS}
        return (
            ray_head(temp_dir, write_token(self.token), self._ray_ports, resources),
            mlflow_server(self.home, self.mlflow_port),
            api_server(env, self._options.host, self.port),
            orchestrator_loop(env, self.health_port),
        )

    def _marked(self, spec: ChildSpec) -> ChildSpec:
        return replace(spec, env={**spec.env, MARK: str(self.home)})

    def _take_home(self) -> None:
        """Hold the home's lock, which ends with this process, and end what a crashed stack left behind."""
        run = self.home / "run"
        run.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)
        lock = (run / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "?"
            lock.close()
            raise StackRunning(
                f"a stack is up in {self.home} (pid {holder}); stop it, or choose another home"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock
        if left := ProcessRegistry(self.home).kill_all():
            log.warning("leftovers_ended", processes=left, home=str(self.home))

    def _require_ports(self) -> None:
        for option, port in (("port", self.port), ("mlflow_port", self.mlflow_port)):
            if listens(port):
                raise PortTaken(f"{option} {port} is in use by another program; choose another, or 0 for any free one")

    def _migrate(self) -> None:
        from orchestrator.db.migrate import upgrade

        for folder in ("storage", "cache", "logs"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        upgrade(self.database_url)

    def _keep_ray_logs(self) -> None:
        with contextlib.suppress(OSError, shutil.Error):
            shutil.copytree(self.home / "ray/session_latest/logs", self.home / "logs/ray", dirs_exist_ok=True)

"""A real Ray head on loopback, for the tests that need one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil
import pytest

from orchestrator.embedded.child import Child
from orchestrator.embedded.ray_head import (
    RayPorts,
    make_temp_dir,
    ray_environment,
    ray_head,
    remove_temp_dir,
    write_token,
)
from tests.builders.ports import claimed_ports
from tests.builders.waiting import wait_until
from workers.contract.encoding import ENCODER_RESOURCE

CPUS: Final = 16
ENCODERS: Final = 4


class RayHead:
    """One head below `home`, on its own ports, that tests may kill and start again."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._ports = RayPorts(*claimed_ports(3))
        # Ray reads its token once in a process, so every head of this test run shares the first one's.
        self._token = write_token(Path(os.environ.get("RAY_AUTH_TOKEN_PATH", home / "ray_token")))
        self.address = f"127.0.0.1:{self._ports.head}"
        self._child: Child | None = None

    def start(self) -> None:
        """Start it, wait until it serves, and give this process what a driver needs."""
        os.environ.update(ray_environment(self._token))
        spec = ray_head(make_temp_dir(self._home), self._token, self._ports, {"CPU": CPUS, ENCODER_RESOURCE: ENCODERS})
        child = self._child = Child(spec, self._home / "ray.log")
        wait_until(lambda: child.exit_code is not None or spec.ready(), "the Ray head serves", timeout_s=60)
        assert child.exit_code is None, child.last_lines()

    def kill(self) -> None:
        if self._child is not None:
            self._child.terminate()
            self._child.wait()
        remove_temp_dir(self._home)

    def suspend(self) -> None:
        """Hang the head's GCS: it listens but does not answer."""
        self._gcs().suspend()

    def resume(self) -> None:
        self._gcs().resume()

    def _gcs(self) -> psutil.Process:
        assert self._child is not None
        return next(each for each in psutil.Process(self._child.pid).children() if "gcs_server" in each.exe())


@contextmanager
def running_ray_head(home: Path) -> Iterator[RayHead]:
    head = RayHead(home)
    try:
        head.start()
        yield head
    finally:
        head.kill()


@pytest.fixture(scope="session")
def ray_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real Ray head, one for the whole run."""
    with running_ray_head(tmp_path_factory.mktemp("ray")) as head:
        yield head.address

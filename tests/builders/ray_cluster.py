"""A real Ray head on loopback, for the tests that need one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.embedded.child import Child
from orchestrator.embedded.ports import free_ports
from orchestrator.embedded.ray_head import (
    RayPorts,
    make_temp_dir,
    ray_environment,
    ray_head,
    remove_temp_dir,
    write_token,
)
from tests.builders.waiting import wait_until


@contextmanager
def running_ray_head(home: Path) -> Iterator[str]:
    """Start a head below `home`, put what drivers need into this process's environment, yield its address."""
    ports = RayPorts(*free_ports(3))
    token = write_token(home / "ray_token")
    spec = ray_head(make_temp_dir(home), token, ports)
    os.environ.update(ray_environment(token))
    head = Child(spec, home / "ray.log")
    try:
        wait_until(lambda: head.exit_code is not None or spec.ready(), "the Ray head serves", timeout_s=60)
        assert head.exit_code is None, head.last_lines()
        yield f"127.0.0.1:{ports.head}"
    finally:
        head.terminate()
        head.wait()
        remove_temp_dir(home)


@pytest.fixture(scope="session")
def ray_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real Ray head. One for the whole run: Ray reads its token once in a process."""
    with running_ray_head(tmp_path_factory.mktemp("ray")) as address:
        yield address

"""What the embedded stack refuses before it starts anything, and where Ray may keep its sockets."""

import fcntl
import os
import socket
import stat
from pathlib import Path

import pytest

from orchestrator.embedded.ray_head import LONGEST_TEMP_DIR, make_temp_dir, remove_temp_dir, write_token
from orchestrator.embedded.services import orchestrator_loop
from orchestrator.embedded.stack import EmbeddedStack, PortTaken, StackOptions, StackRunning


def make_stack(home: Path, port: int = 0) -> EmbeddedStack:
    return EmbeddedStack(StackOptions(home, home / "catalogue.yaml", port=port, mlflow_port=0))


def test_a_second_stack_of_one_home_is_refused_and_leaves_the_first_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711")
        lock.flush()
        with pytest.raises(StackRunning, match="pid 4711"):
            make_stack(tmp_path).up()
        assert (tmp_path / "run" / "lock").read_text() == "4711"


def test_a_taken_port_is_named_and_the_home_is_free_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for _ in range(2):
            with pytest.raises(PortTaken, match=f"port {port} is in use"):
                make_stack(tmp_path, port).up()


def test_the_home_and_the_token_are_for_this_user_alone(tmp_path: Path) -> None:
    token = write_token(tmp_path / "run" / "ray_token")
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    secret = token.read_text()
    assert len(secret) == 64
    assert write_token(token).read_text() == secret, "drivers of an earlier run still fit"


def test_no_setting_holds_the_token(tmp_path: Path) -> None:
    stack = make_stack(tmp_path)
    secret = write_token(stack.token).read_text()
    assert secret not in "".join(stack.environment.values())


def test_a_long_home_keeps_rays_sockets_in_a_short_folder(tmp_path: Path) -> None:
    home = tmp_path / ("long" * 20)
    home.mkdir()
    folder = make_temp_dir(home)
    assert len(str(folder)) <= LONGEST_TEMP_DIR
    assert (home / "ray").resolve() == folder.resolve()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.stat().st_uid == os.getuid()
    again = make_temp_dir(home)
    assert not folder.exists(), "what an earlier run left is removed"
    remove_temp_dir(home)
    assert not again.exists()
    assert not (home / "ray").is_symlink()


def test_on_one_machine_the_api_keeps_to_a_core_and_no_port_of_probes_is_taken_twice(tmp_path: Path) -> None:
    stack = make_stack(tmp_path)
    assert stack.environment["ORCHARD_ONE_CORE"] == "true"
    assert stack.environment["ORCHARD_HEALTH_PORT"] == "0", "whoever joins takes a free one"
    own = orchestrator_loop(stack.environment, stack.health_port)
    assert own.env["ORCHARD_HEALTH_PORT"] == str(stack.health_port)
    assert stack.health_port not in {stack.port, stack.mlflow_port}

"""A real `mlflow server --enable-workspaces` on a free port, with SQLite and a folder behind it."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.builders.ports import claimed_port

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class MlflowServer:
    """The server's address, and its log for failed tests."""

    uri: str
    log: Path


@contextmanager
def running_mlflow(folder: Path, workspaces: bool = True) -> Iterator[MlflowServer]:
    """Start a server with its data in `folder`; stop it and its workers at the end."""
    server = MlflowServer(uri=f"http://127.0.0.1:{claimed_port()}", log=folder / "mlflow.log")
    with server.log.open("wb") as log:
        process = subprocess.Popen(
            _command(server.uri, folder, workspaces),
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            start_new_session=True,  # its workers share the group, so all can be stopped together
        )
    try:
        _wait_until_healthy(process, server)
        yield server
    finally:
        _stop(process)


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """One server for the whole test session. Each test uses its own workspaces."""
    with running_mlflow(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


def _command(uri: str, folder: Path, workspaces: bool) -> list[str]:
    host, port = uri.removeprefix("http://").split(":")
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", host, "--port", port, "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--artifacts-destination", (folder / "artifacts").as_uri()),
        *("--serve-artifacts", "--enable-workspaces" if workspaces else "--disable-workspaces"),
    ]


def _wait_until_healthy(process: subprocess.Popen[bytes], server: MlflowServer) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{server.uri}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"mlflow server did not start: {server.log.read_text()[-2000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(STOP_TIMEOUT_S)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue

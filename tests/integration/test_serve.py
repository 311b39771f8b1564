"""The API's own process."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from orchestrator.db.migrate import upgrade
from tests.builders.api_process import environment, get, serving

pytestmark = pytest.mark.slow


def test_the_process_serves_says_when_it_is_ready_and_stops_on_sigterm(tmp_path: Path) -> None:
    with serving(tmp_path) as (url, settings, server):
        assert get(f"{url}/healthz") == (200, {"status": "ok"})
        assert get(f"{url}/readyz")[0] == 503
        upgrade(settings["ORCHARD_DATABASE_URL"])
        assert get(f"{url}/readyz")[0] == 200
    assert server.returncode in {0, -signal.SIGTERM}
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    assert {line["status"] for line in lines if line["event"] == "request"} == {200, 503}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process cannot choose its core")
@pytest.mark.parametrize("one_core", [True, False])
def test_the_process_keeps_to_one_core_only_when_it_is_told_to(tmp_path: Path, one_core: bool) -> None:
    with serving(tmp_path, **({"ORCHARD_ONE_CORE": "true"} if one_core else {})) as (url, _, server):
        get(f"{url}/healthz")
        threads = [psutil.Process(thread.id).cpu_affinity() for thread in psutil.Process(server.pid).threads()]
    ours = sorted(os.sched_getaffinity(0))
    assert len({tuple(cores) for cores in threads}) == 1
    assert threads[0] in [[core] for core in ours] if one_core else threads[0] == ours


def test_half_sent_requests_do_not_use_up_the_descriptors(tmp_path: Path) -> None:
    with serving(tmp_path, open_files=320, ORCHARD_HEADER_TIMEOUT_S="1") as (url, _, server), ExitStack() as stack:
        assert get(f"{url}/healthz")[0] == 200
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        half_open = [stack.enter_context(socket.create_connection(address, timeout=30)) for _ in range(400)]
        for client in half_open:
            with suppress(OSError):  # closed already, to make room
                client.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n")
        assert get(f"{url}/healthz")[0] == 200
        assert psutil.Process(server.pid).num_fds() < 320
        for client in half_open:
            with suppress(ConnectionResetError):
                assert client.recv(1_000)[:12] in {b"", b"HTTP/1.1 408"}
    log = (tmp_path / "log").read_text()
    assert "the limit of open files is low" in log
    assert "Too many open files" not in log


def test_missing_settings_are_named_by_their_variables(tmp_path: Path) -> None:
    settings = environment(tmp_path, 1)
    del settings["ORCHARD_STORAGE_URI"]
    command = [sys.executable, "-m", "api.serve"]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "ORCHARD_STORAGE_URI" in done.stderr
    assert "Traceback" not in done.stderr

"""The API's own process."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from orchestrator.catalogue.file import dump_catalogue
from orchestrator.db.migrate import upgrade
from tests.builders.live_api import make_catalogue
from tests.builders.ports import claimed_port

pytestmark = pytest.mark.slow


def environment(folder: Path, port: int) -> dict[str, str]:
    catalogue = folder / "catalogue.yaml"
    catalogue.write_text(dump_catalogue(make_catalogue()))
    ours = {
        "DATABASE_URL": f"sqlite:///{folder / 'orchard.sqlite'}",
        "STORAGE_URI": (folder / "storage").as_uri(),
        "CATALOGUE": str(catalogue),
        "CACHE_DIR": str(folder / "cache"),
        "PORT": str(port),
    }
    return {**os.environ, **{f"ORCHARD_{name}": value for name, value in ours.items()}}


def get(url: str, deadline_s: float = 60) -> tuple[int, dict[str, object]]:
    """GET once the server answers at all."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            with urllib.request.urlopen(url) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as answer:
            return answer.code, json.load(answer)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


@contextmanager
def serving(
    folder: Path, open_files: int | None = None, **changes: str
) -> Iterator[tuple[str, dict[str, str], subprocess.Popen[bytes]]]:
    """The URL, environment and process of a server; its log is in `log` of the folder."""
    port = claimed_port()
    settings = environment(folder, port) | changes
    with (folder / "log").open("wb") as log:
        limit = f"ulimit -n {open_files} && " if open_files else ""
        command = ["sh", "-c", f'{limit}exec "$0" -m api.serve', sys.executable]
        server = subprocess.Popen(command, env=settings, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}", settings, server
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


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

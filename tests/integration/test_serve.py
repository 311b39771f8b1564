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
from pathlib import Path

import pytest

from tests.builders.live_api import make_catalogue

pytestmark = pytest.mark.slow


def environment(folder: Path, port: int) -> dict[str, str]:
    catalogue = folder / "catalogue.yaml"
    catalogue.write_text(json.dumps(make_catalogue().model_dump(mode="json")))
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


def test_the_process_serves_says_when_it_is_ready_and_stops_on_sigterm(tmp_path: Path) -> None:
    from orchestrator.db.migrate import upgrade

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = environment(tmp_path, port)
    server = subprocess.Popen([sys.executable, "-m", "api.serve"], env=settings, stderr=subprocess.PIPE)
    try:
        assert get(f"http://127.0.0.1:{port}/healthz") == (200, {"status": "ok"})
        assert get(f"http://127.0.0.1:{port}/readyz")[0] == 503
        upgrade(settings["ORCHARD_DATABASE_URL"])
        assert get(f"http://127.0.0.1:{port}/readyz")[0] == 200
    finally:
        server.send_signal(signal.SIGTERM)
        _, log = server.communicate(timeout=30)
    assert server.returncode in {0, -signal.SIGTERM}
    lines = [json.loads(line) for line in log.decode().splitlines() if line.startswith("{")]
    assert {line["status"] for line in lines if line["event"] == "request"} == {200, 503}


def test_missing_settings_are_named_by_their_variables(tmp_path: Path) -> None:
    settings = environment(tmp_path, 1)
    del settings["ORCHARD_STORAGE_URI"]
    command = [sys.executable, "-m", "api.serve"]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "ORCHARD_STORAGE_URI" in done.stderr
    assert "Traceback" not in done.stderr

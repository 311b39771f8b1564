"""The API's own process."""

import json
import os
import signal
import subprocess
import sys
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


def test_missing_settings_are_named_by_their_variables(tmp_path: Path) -> None:
    settings = environment(tmp_path, 1)
    del settings["ORCHARD_STORAGE_URI"]
    command = [sys.executable, "-m", "api.serve"]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "ORCHARD_STORAGE_URI" in done.stderr
    assert "Traceback" not in done.stderr

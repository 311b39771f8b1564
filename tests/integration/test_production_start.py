"""An installation from nothing by the README's commands: from the wheel's packages, in an empty folder."""

import contextlib
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.embedded.ports import free_ports
from tests.builders.base_folder import make_folder
from tests.builders.waiting import wait_until
from tests.builders.wheel import lay_out_wheel

pytestmark = pytest.mark.slow


class Installation:
    """Its folder, its settings and its processes. There is no Ray and no MLflow: both may come later."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder / "folder"
        self.folder.mkdir()
        self.port, self.health_port, ray = free_ports(3)
        ours = {
            "DATABASE_URL": database_url,
            "STORAGE_URI": (folder / "storage").as_uri(),
            "CATALOGUE": str(self.folder / "catalogue.yaml"),
            "CACHE_DIR": str(folder / "cache"),
            "PORT": str(self.port),
            "HEALTH_PORT": str(self.health_port),
            "RAY_ADDRESS": f"127.0.0.1:{ray}",
        }
        self._environment = lay_out_wheel(folder / "site") | {f"ORCHARD_{name}": value for name, value in ours.items()}

    def orchard(self, *args: str) -> str:
        """Run a command to its end; what it prints."""
        command = [sys.executable, "-m", "api.cli.main", *args]
        options: dict[str, Any] = {"cwd": self.folder, "env": self._environment, "text": True, "timeout": 60}
        done = subprocess.run(command, capture_output=True, check=False, **options)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    @contextlib.contextmanager
    def running(self, module: str) -> Iterator[subprocess.Popen[bytes]]:
        """`python -m module`, until the end of the block."""
        with (self.folder / f"{module}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module], cwd=self.folder, env=self._environment, stderr=log
            )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)

    def get(self, port: int, path: str, key: str = "") -> tuple[int, Any]:
        """Status and JSON; 0 while nobody answers."""
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"authorization": f"Bearer {key}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            return refused.code, json.load(refused)
        except OSError:
            return 0, None


def test_each_documented_command_works_without_a_checkout(tmp_path: Path, empty_url: str) -> None:
    installation = Installation(tmp_path, empty_url)
    base = make_folder(tmp_path / "tiny")
    installation.orchard("db", "upgrade")
    installation.orchard("db", "check")
    key = installation.orchard("keys", "create-admin").strip()
    installation.orchard("catalogue", "add", f"file:{base}")
    installation.orchard("catalogue", "check")
    with installation.running("api.serve"), installation.running("orchestrator") as orchestrator:
        wait_until(lambda: installation.get(installation.port, "/readyz")[0] == 200, "the API is ready", 60)
        ready = lambda: (said := installation.get(installation.health_port, "/readyz"))[0] == 200 and said[1]  # noqa: E731
        said = wait_until(lambda: (found := ready()) and found["role"] == "leader" and found, "it leads", 60)
        assert said["last_pass_age_s"] < 30
        assert installation.get(installation.port, "/v1/admin/tenants", key)[0] == 200
        assert installation.get(installation.port, "/v1/admin/tenants", "sk-orchard-other")[0] == 401
    assert orchestrator.returncode == 0

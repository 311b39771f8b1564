"""The README's commands, run as written against `orchard up`, with a tiny base under the name of the demo's."""

import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.builders.tiny_base import make_tiny_base
from tests.builders.waiting import wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent
FLAVOR = {"name": "cpu", "memory_bytes": 6 * 10**9, "count": 1, "threads": 1}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def submit_deps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which the README's relative paths hold, with a stack that `orchard up` runs."""
    folder = tmp_path_factory.mktemp("submit_deps")
    (folder / "api").symlink_to(ROOT / "api")
    base = make_tiny_base(folder / "base", "gemma-3-270m").model_dump(mode="json")
    offer = {**base, "license": "apache-2.0", "quantizations": ["nf4"], "max_seq_len": 256}
    (folder / ".orchard").mkdir()
    (folder / ".orchard" / "catalogue.yaml").write_text(yaml.safe_dump({"bases": [offer], "flavors": [FLAVOR]}))
    command = [str(BIN / "orchard"), "up", "--port", "0", "--mlflow-port", "0"]
    with (folder / "up.log").open("w") as log:
        up = subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: "Ctrl-C" in said(folder) or up.poll() is not None, "orchard up", 120, pause_s=0.5)
            assert up.poll() is None, said(folder)
            yield folder
        finally:
            up.send_signal(signal.SIGINT)
            assert up.wait(timeout=60) == 0


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "ORCHARD_CONFIG": str(folder / "config.toml"), "PATH": f"{BIN}:{os.environ['PATH']}"}


def said(folder: Path) -> str:
    return (folder / "up.log").read_text()


def test_up_prints_the_addresses_and_the_admin_key_once(submit_deps: Path):
    assert len(re.findall(r"sk-orchard-\S+", said(submit_deps))) == 1
    assert "API     http://127.0.0.1:" in said(submit_deps)
    assert (submit_deps / "config.toml").stat().st_mode & 0o777 == 0o600


def test_every_command_of_the_tours_succeeds_in_order(submit_deps: Path):
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("orchard ")]
    assert len(commands) > 10
    for command in commands:
        done = subprocess.run(
            command,
            shell=True,
            cwd=submit_deps,
            env=environment(submit_deps),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}\n{said(submit_deps)[-2000:]}"
    assert (submit_deps / "triage-adapter" / "peft" / "adapter_model.safetensors").exists()


def test_the_program_of_the_tour_runs_with_the_stock_client(submit_deps: Path):
    profile = tomllib.loads((submit_deps / "config.toml").read_text())["profiles"]["local"]
    client = {"OPENAI_BASE_URL": f"{profile['url']}/v1", "OPENAI_API_KEY": profile["api_key"]}
    (program,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=submit_deps,
        env=environment(submit_deps) | client,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "info Created fine-tuning job: ftjob-" in done.stdout


def test_every_make_target_of_the_readme_exists():
    targets = set(re.findall(r"make ([a-z]+)", README))
    offered = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "check", "up", "help"} <= targets
    assert targets <= offered | {"is"}

"""`orchard catalogue add hf:…` against a hub on loopback, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from orchestrator.catalogue.file import load_catalogue
from tests.builders.base_folder import PARAMETERS, make_folder
from tests.builders.fake_hub import COMMIT, REPOSITORY, fake_hub

pytestmark = pytest.mark.slow
pytest.importorskip("huggingface_hub")


def add(folder: Path, endpoint: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "api.cli.main", "catalogue", "add", *args]
    hub = {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_XET": "1"}
    environment = os.environ | hub | {"ORCHARD_CATALOGUE": str(folder / "catalogue.yaml")}
    environment.pop("HF_HUB_OFFLINE", None)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_a_base_of_the_hub_is_written_with_its_commit_and_no_weight_is_fetched(tmp_path: Path) -> None:
    repository = make_folder(tmp_path / "repository")
    with fake_hub(repository) as (endpoint, asked):
        done = add(tmp_path, endpoint, f"hf:{REPOSITORY}", "--revision", "v1")
    assert done.returncode == 0, (done.stderr, asked)
    [entry] = yaml.safe_load(done.stdout)
    expected = {"id": "tiny-base", "source": f"hf:{REPOSITORY}", "revision": COMMIT, "license": "mit"}
    assert entry.items() >= expected.items()
    assert entry["shape"]["parameters"] == PARAMETERS
    weights = [line for line in asked if line.startswith("GET") and "safetensors" in line]
    assert weights
    assert all("bytes=" in line for line in weights)
    [base] = load_catalogue(tmp_path / "catalogue.yaml").bases
    assert base.spec.revision == COMMIT


def test_a_repository_of_pickles_and_one_that_is_not_there_are_refused(tmp_path: Path) -> None:
    repository = make_folder(tmp_path / "repository")
    (repository / "model.safetensors").rename(repository / "pytorch_model.bin")
    with fake_hub(repository) as (endpoint, _):
        pickles = add(tmp_path, endpoint, f"hf:{REPOSITORY}")
        missing = add(tmp_path, endpoint, "hf:org/none")
    assert pickles.returncode == missing.returncode == 2
    assert "holds no *.safetensors" in pickles.stderr
    assert "org/none at main could not be read from the hub" in missing.stderr
    assert "Traceback" not in pickles.stderr + missing.stderr
    assert not (tmp_path / "catalogue.yaml").exists()

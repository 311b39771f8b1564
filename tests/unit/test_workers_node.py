"""A machine of the cluster that keeps its cache and its bases elsewhere than the catalogue says."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster.ray import worker_environment
from tests.builders.specs import make_base_spec, make_host_spec
from workers.contract.spec import HostSpec
from workers.node import Node


def local(folder: Path, source: str, **variables: str) -> HostSpec:
    spec = make_host_spec(folder, make_base_spec(source=source))
    return Node.of({f"ORCHARD_NODE_{name}": value for name, value in variables.items()}).localize(spec)


def test_without_settings_nothing_changes(tmp_path: Path) -> None:
    spec = make_host_spec(tmp_path)
    assert Node.of({}).localize(spec) == spec
    assert Node.of({"ORCHARD_NODE_CACHE_DIR": "", "ORCHARD_NODE_SOURCES": ""}).localize(spec) == spec


def test_the_cache_is_where_the_node_says_and_the_rest_stays(tmp_path: Path) -> None:
    spec = make_host_spec(tmp_path)
    found = local(tmp_path, spec.base.source, CACHE_DIR="/ssd/cache")
    assert found == spec.model_copy(update={"cache_dir": "/ssd/cache"})


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("file:/models/llama", "file:/mnt/m/llama"),
        ("gguf:/models/sub/a.gguf", "gguf:/mnt/m/sub/a.gguf"),
        ("file:/models", "file:/mnt/m"),
        ("file:/models/big/one", "file:/ssd/one"),
        ("file:/models-other/llama", "file:/models-other/llama"),
        ("hf:models/llama", "hf:models/llama"),
    ],
)
@pytest.mark.parametrize(
    "sources", ["/models=/mnt/m, /models/big=/ssd", '{"/models/": "/mnt/m/", "/models/big": "/ssd"}']
)
def test_a_source_is_found_under_the_longest_folder_that_holds_it(
    tmp_path: Path, sources: str, source: str, expected: str
) -> None:
    found = local(tmp_path, source, SOURCES=sources).base
    assert found.source == expected
    assert found.id == "tiny"


@pytest.mark.parametrize("sources", ["/models", "models=/mnt", "/a=/b=/c", '{"/a": 1}', "{"])
def test_what_is_no_mapping_names_its_variable(tmp_path: Path, sources: str) -> None:
    with pytest.raises(ValueError, match="ORCHARD_NODE_SOURCES"):
        local(tmp_path, "file:/models/a", SOURCES=sources)


def test_no_path_of_this_machine_is_sent_to_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert worker_environment("10.0.0.7:6379") == {}
    assert worker_environment("ray-head:6379") == {}
    installed: Any = tmp_path / "site-packages" / "workers" / "__init__.py"
    monkeypatch.setattr("workers.__file__", str(installed))
    assert worker_environment("127.0.0.1:6379") == {}

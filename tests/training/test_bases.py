"""Which base folders are loaded, and which are refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.builders.specs import make_base_spec, make_host_spec
from workers.bases import load_base
from workers.bases.sources import weight_digest
from workers.contract.base import BaseSpec, Quantization
from workers.contract.errors import BaseDigestMismatch, BaseRefused, BaseUnavailable, BaseUnusable


@pytest.fixture
def own_copy(tmp_path: Path, tiny_base: BaseSpec) -> Path:
    return Path(shutil.copytree(tiny_base.location, tmp_path / "base"))


def load(folder: Path, base: Path, **changes: str) -> None:
    load_base(make_host_spec(folder, make_base_spec(source=f"file:{base}", **changes)))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "extra/optimizer.pt", "scaler.pkl", "modeling_own.py", "W.PTH"])
def test_a_folder_with_a_pickle_or_code_is_refused_by_name(tmp_path: Path, own_copy: Path, name: str) -> None:
    (own_copy / name).parent.mkdir(exist_ok=True)
    (own_copy / name).write_bytes(b"cos\nsystem\n")
    with pytest.raises(BaseRefused, match=name.replace(".", r"\.")):
        load(tmp_path, own_copy)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_remote_code_is_refused(tmp_path: Path, own_copy: Path, name: str) -> None:
    config = json.loads((own_copy / name).read_text())
    (own_copy / name).write_text(json.dumps(config | {"auto_map": {"AutoModel": "own.Model"}}))
    with pytest.raises(BaseRefused, match="auto_map"):
        load(tmp_path, own_copy)


def test_a_folder_without_safetensors_is_refused(tmp_path: Path, own_copy: Path) -> None:
    (own_copy / "model.safetensors").unlink()
    with pytest.raises(BaseRefused, match="safetensors"):
        load(tmp_path, own_copy)


def test_a_hub_base_that_cannot_be_fetched_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BaseUnavailable, match="could not be fetched"):
        load_base(make_host_spec(tmp_path, make_base_spec(source="hf:orchard-tests/not-there", revision="0" * 40)))


def test_weights_that_cannot_be_read_are_unusable(tmp_path: Path, own_copy: Path) -> None:
    weights = own_copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(BaseUnusable):
        load(tmp_path, own_copy)


def test_the_pinned_digest_is_checked(tmp_path: Path, own_copy: Path) -> None:
    digest = weight_digest([own_copy / "model.safetensors"])
    load(tmp_path, own_copy, weight_digest=digest)
    with pytest.raises(BaseDigestMismatch, match=digest):
        load(tmp_path, own_copy, weight_digest="0" * 64)


@pytest.mark.parametrize("quantization", list(Quantization))
def test_a_change_of_the_resident_base_is_noticed(
    tmp_path: Path, tiny_base: BaseSpec, quantization: Quantization
) -> None:
    base = load_base(make_host_spec(tmp_path, tiny_base, quantization=quantization))
    with torch.no_grad():
        base.model(input_ids=torch.tensor([[1, 2, 3]]))
    base.verify_unchanged()
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    base.model.get_submodule("model.layers.1.mlp.up_proj").weight.data[0, 0] += 1
    with pytest.raises(BaseDigestMismatch):
        base.verify_unchanged()

"""Quantized weights are cached on disk and load bit for bit; a damaged cache is rebuilt."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from tests.builders.driving import drain, losses, outcome_of
from tests.builders.specs import make_host_spec, make_job_spec, make_order
from workers.bases import LoadedBase, load, load_base
from workers.bases.prequantized import MANIFEST, PrequantizedCache
from workers.contract.base import BaseSpec, ComputeDtype, Quantization
from workers.host import TrainingHost

QUANTIZED = [Quantization.NF4, Quantization.INT8]


@pytest.fixture
def quantized(monkeypatch: pytest.MonkeyPatch) -> list[Quantization]:
    """Counts quantizations from now on."""
    done: list[Quantization] = []
    make = load._quantization_config
    monkeypatch.setattr(load, "_quantization_config", lambda kind, dtype: (done.append(kind), make(kind, dtype))[1])
    return done


def loaded(folder: Path, base: BaseSpec, **changes: Any) -> LoadedBase:
    return load_base(make_host_spec(folder, base, **({"quantization": Quantization.NF4} | changes)))


def cached(folder: Path) -> Path:
    (found,) = (folder / "cache").iterdir()
    return found


@pytest.mark.parametrize("compute_dtype", list(ComputeDtype))
@pytest.mark.parametrize("quantization", QUANTIZED)
def test_a_second_host_loads_the_same_bits_without_quantizing(
    tmp_path: Path, tiny_base: BaseSpec, quantized: list[Quantization], quantization: Quantization, compute_dtype: Any
) -> None:
    spec = {"quantization": quantization, "compute_dtype": compute_dtype}
    first, second = (loaded(tmp_path, tiny_base, **spec) for _ in range(2))
    assert quantized == [quantization]
    assert second.digest_at_load == first.digest_at_load == second.resident_digest()
    assert second.digest == first.digest
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [cached(tmp_path).name]


@pytest.mark.parametrize("quantization", QUANTIZED)
def test_training_on_cached_weights_is_training_on_quantized_ones(
    tmp_path: Path, tiny_base: BaseSpec, quantized: list[Quantization], quantization: Quantization
) -> None:
    traces, adapters = [], []
    for attempt in (1, 2):
        host = TrainingHost(make_host_spec(tmp_path, tiny_base, quantization=quantization))
        spec = make_job_spec(tmp_path, tiny_base, quantization=quantization, deterministic=True)
        host.attach(make_order(spec, attempt=attempt))
        reports = drain(host)
        host.stop()  # verifies the base
        traces.append(losses(reports, spec.job_id))
        adapters.append(outcome_of(reports, spec.job_id).adapter)
    assert quantized == [quantization]
    assert traces[0] == traces[1]
    assert adapters[0].base_digest == adapters[1].base_digest
    config = Path(adapters[1].uri.removeprefix("file://")) / "peft" / "adapter_config.json"
    assert json.loads(config.read_text())["base_model_name_or_path"] == tiny_base.location


def flip(folder: Path) -> None:
    weights = next(folder.glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)


def lie(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"resident_digest": "0" * 64}))


DAMAGES = {
    "a flipped bit": flip,
    "a missing file": lambda folder: next(folder.glob("*.safetensors")).unlink(),
    "a file too many": lambda folder: (folder / "more.safetensors").write_bytes(b"?"),
    "no manifest": lambda folder: (folder / MANIFEST).unlink(),
    "half a manifest": lambda folder: (folder / MANIFEST).write_text("{"),
    "other weights than were resident": lie,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_cache_is_discarded_and_rebuilt_with_a_log_line(
    tmp_path: Path, tiny_base: BaseSpec, quantized: list[Any], caplog: pytest.LogCaptureFixture, damage: Any
) -> None:
    first = loaded(tmp_path, tiny_base)
    damage(cached(tmp_path))
    with caplog.at_level(logging.WARNING, "workers.bases"):
        again = loaded(tmp_path, tiny_base)
    third = loaded(tmp_path, tiny_base)
    assert len(quantized) == 2
    assert third.digest_at_load == again.digest_at_load == first.digest_at_load
    assert [record.getMessage() for record in caplog.records if "quantized again" in record.getMessage()]


def test_another_precision_and_other_libraries_have_a_cache_of_their_own(
    tmp_path: Path, tiny_base: BaseSpec, quantized: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(tmp_path, tiny_base)
    loaded(tmp_path, tiny_base, compute_dtype=ComputeDtype.BF16)
    monkeypatch.setattr("workers.bases.prequantized.version", lambda name: "0.0")
    loaded(tmp_path, tiny_base)
    assert len(quantized) == len(list((tmp_path / "cache").iterdir())) == 3


def test_plain_weights_are_not_copied(tmp_path: Path, tiny_base: BaseSpec) -> None:
    loaded(tmp_path, tiny_base, quantization=Quantization.NONE)
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_does_not_stop_training(
    tmp_path: Path, tiny_base: BaseSpec, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("not a folder")
    with caplog.at_level(logging.WARNING, "workers.bases"):
        assert loaded(tmp_path, tiny_base).digest
    assert "could not store" in caplog.text


def test_a_dead_hosts_partial_folder_is_deleted_once_no_host_can_use_it(tmp_path: Path, tiny_base: BaseSpec) -> None:
    old, young = (tmp_path / "cache" / f".nf4-{name}" for name in ("old", "young"))
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"half")
    os.utime(old, (0, 0))
    loaded(tmp_path, tiny_base)
    assert not old.exists()
    assert young.exists()


def test_of_two_hosts_that_quantize_at_once_one_keeps_its_weights_and_both_load(
    tmp_path: Path, tiny_base: BaseSpec, quantized: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, others = PrequantizedCache._write, []

    def overtaken(self: PrequantizedCache, *arguments: Any) -> None:
        write(self, *arguments)
        if not others:
            others.append("on its way")
            others[0] = loaded(tmp_path, tiny_base).digest_at_load

    monkeypatch.setattr(PrequantizedCache, "_write", overtaken)
    first = loaded(tmp_path, tiny_base)
    assert loaded(tmp_path, tiny_base).digest_at_load == first.digest_at_load == others[0]
    assert len(quantized) == 2
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [cached(tmp_path).name]

"""Bases that cannot be used as asked end a host once, with words for their operator; a machine's faults do not."""

import errno
import logging
from pathlib import Path

import pytest
import torch

from tests.builders.driving import drain, outcome_of
from tests.builders.odd_bases import DAMAGES, make_odd_base
from tests.builders.specs import make_base_spec, make_host_spec, make_job_spec, make_order
from workers.bases import blamed, load_base
from workers.contract.base import ComputeDtype, Quantization
from workers.contract.errors import BaseUnavailable, BaseUnusable, ErrorCode, OutOfMemory, WorkerError
from workers.contract.lanes import Lane
from workers.contract.reports import HostPhase
from workers.contract.spec import HostSpec
from workers.host import TrainingHost

LONGEST = 400  # characters of a message; the class names of transformers alone have 3,000


def told(host_spec: HostSpec) -> str:
    """What a host of this spec says of its base, which it must call unusable."""
    host = TrainingHost(host_spec)
    host.run_once()
    report = host.poll(0)
    assert (report.phase, report.error_code) == (HostPhase.FAILED, ErrorCode.BASE_UNUSABLE), report.error
    assert report.error is not None
    assert "/" not in report.error
    assert len(report.error) < LONGEST
    return report.error


@pytest.mark.parametrize(
    ("kind", "quantization", "why"),
    [
        ("t5", Quantization.NONE, "no causal language model"),
        ("bert", Quantization.NONE, "bidirectional"),
        ("bert", Quantization.NF4, "bidirectional"),
        ("roberta", Quantization.INT8, "bidirectional"),
        ("mamba", Quantization.NF4, "trying it out ends with"),
        ("qwen3-moe", Quantization.NF4, "67% of its layers' weights, such as stacked experts, cannot be quantized"),
        ("mixtral", Quantization.INT8, "89% of its layers' weights, such as stacked experts, cannot be quantized"),
        ("gemma3", Quantization.NONE, "write `decoder: model.language_model`"),
    ],
)
def test_a_base_that_cannot_be_trained_as_asked_is_unusable(
    tmp_path: Path, kind: str, quantization: Quantization, why: str
) -> None:
    base = make_odd_base(tmp_path / "base", kind)
    dtype = ComputeDtype.BF16
    assert why in told(make_host_spec(tmp_path, base, quantization=quantization, compute_dtype=dtype))


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_base_whose_files_are_damaged_is_unusable(tmp_path: Path, damage: str) -> None:
    base = make_odd_base(tmp_path / "base", "llama")
    DAMAGES[damage](tmp_path / "base")
    told(make_host_spec(tmp_path, base))


@pytest.mark.parametrize("source", ["file:/no/such/folder", "gguf:/no/such/file.gguf"])
def test_a_base_that_is_not_there_is_unusable(tmp_path: Path, source: str) -> None:
    assert "does not exist" in told(make_host_spec(tmp_path, make_base_spec(source=source)))


@pytest.mark.parametrize("source", ["file:{}/models/tiny", "gguf:{}/tiny.gguf"])
def test_a_base_on_a_file_system_that_is_not_mounted_is_away_and_not_at_fault(tmp_path: Path, source: str) -> None:
    (tmp_path / "mount").mkdir()
    with pytest.raises(BaseUnavailable, match="not mounted") as caught:
        load_base(make_host_spec(tmp_path, make_base_spec(source=source.format(tmp_path / "mount"))))
    assert caught.value.retryable
    assert "/" not in str(caught.value)


def test_linears_that_the_catalogue_offers_and_the_base_lacks_are_found_when_the_host_starts(tmp_path: Path) -> None:
    base = make_odd_base(tmp_path / "base", "gpt2")
    offered = base.shape.linear_names
    spec = make_host_spec(tmp_path, base).model_copy(update={"target_modules": offered})
    assert "target_modules name down_proj, which it lacks; it has c_attn, c_fc, c_proj" in told(spec)


def test_the_log_of_the_host_has_what_the_message_leaves_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec = make_host_spec(tmp_path, make_odd_base(tmp_path / "base", "t5"))
    with caplog.at_level(logging.ERROR):
        told(spec)
    assert "Unrecognized configuration class" in caplog.text


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3-moe", "mixtral"])
def test_a_decoder_that_holds_what_is_asked_is_loaded(tmp_path: Path, kind: str) -> None:
    load_base(make_host_spec(tmp_path, make_odd_base(tmp_path / "base", kind)))


def test_a_kind_of_bert_that_was_made_a_decoder_is_loaded(tmp_path: Path) -> None:
    load_base(make_host_spec(tmp_path, make_odd_base(tmp_path / "base", "roberta-decoder", decoder="roberta")))


@pytest.mark.parametrize("quantization", list(Quantization))
def test_a_quantized_decoder_is_causal_however_its_sums_are_rounded(tmp_path: Path, quantization: Quantization) -> None:
    base = make_odd_base(tmp_path / "base", "llama")
    load_base(make_host_spec(tmp_path, base, quantization=quantization, compute_dtype=ComputeDtype.BF16))


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (MemoryError(), OutOfMemory),
        (torch.OutOfMemoryError("CUDA out of memory"), OutOfMemory),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), OutOfMemory),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), OutOfMemory),
        (OSError(errno.EIO, "Input/output error", "/models/tiny/model.safetensors"), BaseUnavailable),
        (OSError(errno.ESTALE, "Stale file handle", "/models/tiny/config.json"), BaseUnavailable),
        (OSError(errno.ENOSPC, "No space left on device"), BaseUnavailable),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), BaseUnavailable),
        (RuntimeError("CUDA error: unspecified launch failure"), BaseUnavailable),
        (FileNotFoundError(errno.ENOENT, "No such file", "/models/tiny/config.json"), BaseUnusable),
        (PermissionError(errno.EACCES, "Permission denied", "/models/tiny"), BaseUnusable),
        (ModuleNotFoundError("No module named 'mamba_ssm'", name="mamba_ssm"), BaseUnusable),
        (KeyError("layers"), BaseUnusable),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), BaseUnusable),
    ],
)
def test_a_fault_of_the_machine_may_be_retried_and_one_of_the_base_may_not(
    tmp_path: Path, error: Exception, wanted: type[WorkerError]
) -> None:
    found = blamed(error, make_host_spec(tmp_path))
    assert (type(found), found.retryable) == (wanted, wanted is not BaseUnusable)
    assert "/models" not in str(found)


def test_a_cache_that_this_machine_cannot_write_is_no_fault_of_the_base(tmp_path: Path) -> None:
    spec = make_host_spec(tmp_path)
    refused = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "cache" / "gguf-1"))
    assert isinstance(blamed(refused, spec), BaseUnavailable)


def test_the_cause_counts_and_not_what_a_library_made_of_it(tmp_path: Path) -> None:
    wrapped = OSError("Can't load the model")
    wrapped.__cause__ = OSError(errno.EIO, "Input/output error")
    assert isinstance(blamed(wrapped, make_host_spec(tmp_path)), BaseUnavailable)


@pytest.mark.parametrize("lane", list(Lane))
def test_every_attempt_on_a_host_without_its_base_ends_with_the_reason(tmp_path: Path, lane: Lane) -> None:
    base = make_base_spec(source="file:/no/such/folder")
    host = TrainingHost(make_host_spec(tmp_path, base, lane=lane))
    host.attach(make_order(make_job_spec(tmp_path, base, lane=lane)))
    assert outcome_of(drain(host), "ftjob-1").error_code is ErrorCode.BASE_UNUSABLE

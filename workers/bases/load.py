"""Load a base once: locate, verify, quantize or read quantized weights from the cache, freeze."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, cast

import bitsandbytes
import torch
from safetensors import SafetensorError
from torch import nn

from workers.bases.blame import blamed
from workers.bases.checks import require_as_asked, require_complete
from workers.bases.digests import ResidentWeights
from workers.bases.prequantized import PrequantizedCache, Recipe
from workers.bases.sources import Source, locate
from workers.contract.base import ComputeDtype, Quantization
from workers.contract.errors import BaseDigestMismatch, BaseUnavailable, WorkerError
from workers.contract.spec import HostSpec, JobSpec
from workers.tasks import TASKS

# Silences a warning per linear and pass: int8 quantizes inputs in fp16 by design (arXiv 2208.07339).
logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)

UNREADABLE: Final = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)
TORCH_DTYPES: Final = {ComputeDtype.BF16: torch.bfloat16, ComputeDtype.FP32: torch.float32}


@dataclass(frozen=True)
class LoadedBase:
    """A resident base. Adapters are injected into `model`; its own weights never change."""

    spec: HostSpec
    model: nn.Module
    tokenizer: Any
    folder: Path
    digest: str
    device: torch.device
    load_seconds: float
    weights: ResidentWeights
    digest_at_load: str

    def require_suits(self, job: JobSpec) -> None:
        """Raises BaseUnavailable when the job needs another base, precision, task or lane."""
        held = _key(self.spec)
        wanted = _key(job)
        if held != wanted or job.base.weight_digest not in {None, self.digest}:
            raise BaseUnavailable(f"host {self.spec.id} holds {' '.join(held)}, the job needs {' '.join(wanted)}")

    def resident_digest(self) -> str:
        """sha256 over the weights as they are in memory now."""
        return self.weights.digest()

    def verify_unchanged(self) -> None:
        """Raises BaseDigestMismatch when the resident weights have changed since loading."""
        if self.resident_digest() != self.digest_at_load:
            raise BaseDigestMismatch("the resident base changed while it was in use; its adapters cannot be trusted")


def load_base(spec: HostSpec) -> LoadedBase:
    """Load `spec.base` in the precision of `spec`.

    Raises: BaseUnusable, BaseRefused and BaseDigestMismatch, which are of the base; BaseUnavailable and OutOfMemory,
    which are of this machine.
    """
    from transformers import AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    started = time.perf_counter()
    try:
        source = locate(spec.base, Path(spec.cache_dir))
        resident = _resident(source, spec)
        tokenizer = AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False, local_files_only=True)
    except WorkerError:
        raise
    except Exception as error:
        raise blamed(error, spec) from error
    return LoadedBase(
        spec=spec,
        model=resident.model,
        tokenizer=tokenizer,
        folder=source.folder,
        digest=source.digest,
        device=torch.device(spec.device),
        load_seconds=time.perf_counter() - started,
        weights=resident.weights,
        digest_at_load=resident.digest,
    )


def _key(spec: HostSpec | JobSpec) -> tuple[str, ...]:
    return spec.base.id, spec.quantization.value, spec.compute_dtype.value, spec.task.type, spec.lane.value


@dataclass(frozen=True)
class _Resident:
    """A frozen model, its weights, and their digest."""

    model: nn.Module
    weights: ResidentWeights
    digest: str

    @classmethod
    def of(cls, model: nn.Module, spec: HostSpec) -> Self:
        """Freeze and check the model. Raises: BaseUnusable."""
        model.requires_grad_(False)
        _keep_trainable(model)
        weights = ResidentWeights(model)
        require_as_asked(spec, model)
        return cls(model, weights, weights.digest())


def _resident(source: Source, spec: HostSpec) -> _Resident:
    """The base in memory. Quantized weights are read from the cache, or written to it."""
    dtype = TORCH_DTYPES[spec.compute_dtype]
    if spec.quantization is Quantization.NONE:
        return _Resident.of(_load_model(spec, source.folder, dtype), spec)
    cache = PrequantizedCache(Path(spec.cache_dir), Recipe.of(source, spec))
    if (cached := _from_cache(cache, spec, dtype)) is not None:
        return cached
    quantization = _quantization_config(spec.quantization, dtype)
    resident = _Resident.of(_load_model(spec, source.folder, dtype, quantization), spec)
    cache.store(resident.model, resident.digest)
    return resident


def _from_cache(cache: PrequantizedCache, spec: HostSpec, dtype: torch.dtype) -> _Resident | None:
    """The cached weights, if they are bit-identical to the ones that were stored."""
    manifest = cache.verified()
    if manifest is None:
        return None
    try:
        resident = _Resident.of(_load_model(spec, cache.folder, dtype), spec)
    except UNREADABLE as error:
        cache.discard(str(error))
        return None
    if resident.digest != manifest.resident_digest:
        cache.discard("their digest in memory differs from the stored one")
        return None
    return resident


def _load_model(spec: HostSpec, folder: Path, dtype: torch.dtype, quantization: Any = None) -> nn.Module:
    """`quantization`: how to quantize plain weights; None: load the weights as they are stored."""
    chosen = {} if quantization is None else {"quantization_config": quantization}  # None would override the config's
    model, loading = (
        TASKS.of(spec.task)
        .auto_class()
        .from_pretrained(
            folder,
            **chosen,
            dtype=dtype,
            device_map={"": spec.device},
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    )
    require_complete(spec, loading)
    return cast(nn.Module, model)


def _quantization_config(quantization: Quantization, dtype: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig

    if quantization is Quantization.NF4:
        return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    return BitsAndBytesConfig(load_in_8bit=True)


def _keep_trainable(model: nn.Module) -> None:
    """Stop bitsandbytes from repacking 4-bit weights at the first evaluation on CPUs with AVX512-BF16.

    The repacked form has no backward: later seats would train with a normal-looking loss and no gradient.
    """
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False

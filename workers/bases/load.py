"""Load a base once: locate, check, quantize, freeze."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import bitsandbytes
import torch
from safetensors import SafetensorError
from torch import nn

from workers.bases.digests import ResidentWeights
from workers.bases.sources import locate
from workers.contract.base import ComputeDtype, Quantization
from workers.contract.errors import BaseDigestMismatch, BaseUnavailable
from workers.contract.spec import HostSpec, JobSpec

# One warning for each linear and pass that int8 quantizes inputs in fp16; it does so by design (arXiv 2208.07339).
logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)

TORCH_DTYPES: Final = {ComputeDtype.BF16: torch.bfloat16, ComputeDtype.FP32: torch.float32}


@dataclass(frozen=True)
class LoadedBase:
    """A resident base. Adapters are injected into `model`; the weights themselves are never written."""

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
        """Raises BaseUnavailable when the job asks for another base, or this one in another precision."""
        held = (self.spec.base.id, self.spec.quantization.value, self.spec.compute_dtype.value)
        wanted = (job.base.id, job.quantization.value, job.compute_dtype.value)
        if held != wanted or job.base.weight_digest not in {None, self.digest}:
            raise BaseUnavailable(f"host {self.spec.id} holds {' '.join(held)}, the job needs {' '.join(wanted)}")

    def resident_digest(self) -> str:
        """sha256 over the weights as they are in memory now."""
        return self.weights.digest()

    def verify_unchanged(self) -> None:
        """Raises BaseDigestMismatch when the resident weights are no longer those that were loaded."""
        if self.resident_digest() != self.digest_at_load:
            raise BaseDigestMismatch("the resident base changed while it was in use; its adapters cannot be trusted")


def load_base(spec: HostSpec) -> LoadedBase:
    """Load `spec.base` in the precision `spec` asks for.

    Raises: BaseUnavailable, BaseRefused, BaseDigestMismatch.
    """
    from transformers import AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    started = time.perf_counter()
    source = locate(spec.base, Path(spec.cache_dir))
    try:
        model = _load_model(source.folder, spec)
        tokenizer = AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise BaseUnavailable(f"base {spec.base.id} could not be loaded: {error}") from error
    model.requires_grad_(False)
    _keep_trainable(model)
    weights = ResidentWeights(model)
    return LoadedBase(
        spec=spec,
        model=model,
        tokenizer=tokenizer,
        folder=source.folder,
        digest=source.digest,
        device=torch.device(spec.device),
        load_seconds=time.perf_counter() - started,
        weights=weights,
        digest_at_load=weights.digest(),
    )


def _load_model(folder: Path, spec: HostSpec) -> nn.Module:
    from transformers import AutoModelForCausalLM

    dtype = TORCH_DTYPES[spec.compute_dtype]
    model: nn.Module = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        quantization_config=_quantization_config(spec.quantization, dtype),
        device_map={"": spec.device},
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    )
    return model


def _quantization_config(quantization: Quantization, dtype: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig

    match quantization:
        case Quantization.NF4:
            return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
        case Quantization.INT8:
            return BitsAndBytesConfig(load_in_8bit=True)
        case Quantization.NONE:
            return None


def _keep_trainable(model: nn.Module) -> None:
    """Stop bitsandbytes from repacking 4-bit weights at the first evaluation on CPUs with AVX512-BF16.

    The repacked form has no backward: every later seat would train with a normal-looking loss and no gradient.
    """
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False

"""The digest of a base in memory: proof that no tenant's training changed what all tenants share."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

NamedTensors = Sequence[tuple[str, Tensor]]


def resident_tensors(model: nn.Module) -> NamedTensors:
    """Every parameter and buffer of `model`, named now: adapters that wrap its linears later change the names."""
    parameters: list[tuple[str, Tensor]] = [(name, tensor) for name, tensor in model.named_parameters()]
    return [*parameters, *model.named_buffers()]


def resident_digest(tensors: NamedTensors) -> str:
    """sha256 over the bytes of the tensors and of the scales bitsandbytes keeps beside quantized ones."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(name.encode())
        for part in (tensor.data, *_scales(tensor)):
            digest.update(part.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _scales(tensor: Tensor) -> list[Tensor]:
    state = getattr(tensor, "quant_state", None)  # 4 bit
    candidates = (getattr(state, "absmax", None), getattr(tensor, "SCB", None))  # SCB: 8 bit
    return [scale for scale in candidates if isinstance(scale, Tensor)]

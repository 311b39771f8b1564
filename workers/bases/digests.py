"""The digest of a base in memory: proof that no tenant's training changed what all tenants share."""

import hashlib
from collections.abc import Iterator

import bitsandbytes
import torch
from torch import Tensor, nn


class ResidentWeights:
    """The weights and buffers of a base, and the scales bitsandbytes keeps with quantized weights.

    Names are collected now, before adapters wrap the linears and rename them. `digest` reads the bytes.
    """

    def __init__(self, model: nn.Module) -> None:
        self._tensors: list[tuple[str, Tensor]] = [*model.named_parameters(), *model.named_buffers()]
        self._eight_bit = [
            (name, module) for name, module in model.named_modules() if isinstance(module, bitsandbytes.nn.Linear8bitLt)
        ]
        for _, module in self._eight_bit:
            if module.weight.CB is not None:
                module.init_8bit_state()  # the first forward would move the scales from the weight to the module

    def digest(self) -> str:
        """Hex sha256 over all of them as they are in memory now."""
        digest = hashlib.sha256()
        for name, tensor in self._parts():
            digest.update(name.encode())
            digest.update(tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def _parts(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self._tensors:
            yield name, tensor.data
            absmax = getattr(getattr(tensor, "quant_state", None), "absmax", None)
            if absmax is not None:
                yield f"{name}.absmax", absmax
        for name, module in self._eight_bit:
            yield f"{name}.scale", module.state.SCB

"""Bases: locate the weights of a catalogue entry, refuse anything but plain weights, quantize, keep them resident.

May import: `workers.contract`, `workers.storage`, `workers.methods`, `workers.tasks`, torch, transformers,
bitsandbytes, gguf.

Invariants
- Only safetensors are loaded and no code of a base is ever run: `workers.contract.guard` refuses the rest by name.
- A base is frozen: no parameter requires a gradient, and `LoadedBase.resident_digest()` stays the same for life.
- Weights are checked against `BaseSpec.weight_digest` before they are loaded.
- `blame` tells a fault of the base, which every host would meet, from a fault of this machine. What tenants read of
  either holds no path and no library's text.
- A base that is no decoder, lacks weights or linears on offer, or cannot be quantized as asked is refused (`checks`).
- Weights quantized earlier, on this host or another, are used only if they load to the bits that quantizing gave.
"""

from workers.bases.blame import blamed
from workers.bases.load import LoadedBase, load_base

__all__ = ["LoadedBase", "blamed", "load_base"]

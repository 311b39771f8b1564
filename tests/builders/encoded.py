"""Job specs whose rows are encoded, as an encoder does it, in this process."""

from functools import cache
from pathlib import Path

from orchestrator.encodings.keys import encoding_key, files_of, order_of, with_encoded
from workers.contract.encoding import EncodeLimits
from workers.contract.spec import JobSpec
from workers.data.stored import store
from workers.encoding.board import Board
from workers.encoding.process import encode
from workers.encoding.tokenizers import Tokenizers


@cache
def _kept() -> tuple[Tokenizers, Board]:
    return Tokenizers(), Board.create()


def encode_to_store(spec: JobSpec) -> JobSpec:
    """The spec with its files encoded beside its outputs. Raises: DataError."""
    encoded = {}
    for role, dataset in files_of(spec):
        key = encoding_key(spec, dataset)
        uri = f"{spec.output_uri}-encoded/{key}"
        cache_dir = str(Path(spec.base.location).parent / "encoder-cache")
        order = order_of(spec, dataset, key, 1, uri, cache_dir, EncodeLimits())
        encoded[role] = store(encode(order, *_kept()), uri)
    return with_encoded(spec, encoded)

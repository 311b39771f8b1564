"""Job specs whose rows are encoded, as an encoder does it, in this process."""

import atexit
import shutil
import tempfile
from functools import cache

from orchestrator.encodings.keys import encoding_key, files_of, order_of, with_encoded
from workers.contract.encoding import EncodeLimits
from workers.contract.spec import DataSpec, JobSpec
from workers.data.encode import EncodedData, encode_file, require_usable
from workers.data.stored import store
from workers.data.tokens import RowEncoder
from workers.encoding.board import Board
from workers.encoding.process import encode
from workers.encoding.tokenizers import Tokenizers


@cache
def _kept() -> tuple[Tokenizers, Board]:
    return Tokenizers(), Board.create()


@cache
def _cache_dir() -> str:
    """For tokenizers that take long to unpack; of this test run."""
    folder = tempfile.mkdtemp(prefix="orchard-test-tokenizers-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def encode_training(encode: RowEncoder, data: DataSpec) -> EncodedData:
    """The training file as tokens. Raises: DataError naming every line that cannot be used."""
    return require_usable(encode_file(encode, data, data.training), data.training)


def encode_to_store(spec: JobSpec) -> JobSpec:
    """The spec with its files encoded beside its outputs. Raises: DataError."""
    encoded = {}
    for role, dataset in files_of(spec):
        key = encoding_key(spec, dataset)
        uri = f"{spec.output_uri}-encoded/{key}"
        order = order_of(spec, dataset, key, 1, uri, _cache_dir(), EncodeLimits())
        data, preview = encode(order, *_kept())
        encoded[role] = store(require_usable(data, dataset), preview, uri)
    return with_encoded(spec, encoded)

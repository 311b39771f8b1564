"""`python -m workers.encoding.process BOARD`: encodes one order after the other, from stdin to stdout, a line each.

It knows no time limits: whoever started it ends it.
"""

import ctypes
import logging
import os
import signal
import sys
from pathlib import Path
from typing import IO, Final

from workers.contract.encoding import EncodeOrder, EncodeResult
from workers.contract.errors import (
    DataError,
    EncodingFailed,
    InfraError,
    OrchardError,
    StorageMissing,
    StorageUnavailable,
    WorkerError,
)
from workers.contract.failpoints import failpoint
from workers.contract.issues import MAX_ISSUES, storable
from workers.contract.preview import StoredPreview
from workers.data.encode import EncodedData, encode_file, require_usable, within_vocabulary
from workers.data.preview import PreviewTaker
from workers.data.stored import store, store_preview
from workers.encoding.board import Board
from workers.encoding.tokenizers import Tokenizers
from workers.tasks import TASKS

PR_SET_PDEATHSIG: Final = 1
log = logging.getLogger(__name__)


def main() -> None:
    """Serve until stdin ends."""
    _die_with_parent()
    answers = _take_stdout()
    board, tokenizers = Board(int(sys.argv[1])), Tokenizers()
    for line in sys.stdin.buffer:
        result = carry_out(EncodeOrder.model_validate_json(line), tokenizers, board)
        answers.write(result.model_dump_json().encode() + b"\n")
        answers.flush()


def carry_out(order: EncodeOrder, tokenizers: Tokenizers, board: Board) -> EncodeResult:
    """Encode the file and store its rows and preview. Every error becomes a result."""
    try:
        data, preview = encode(order, tokenizers, board)
        ref = store(_usable(data, preview, order), preview, order.uri)
        failpoint("encoding.stored")
    except StorageMissing:
        gone = StorageUnavailable("The file is no longer in storage. Upload it again.")
        return failure(order, gone, retryable=False)
    except WorkerError as error:
        return failure(order, error)
    except Exception as error:
        log.exception("order %s failed", order.key)
        return failure(order, EncodingFailed(f"the encoder failed: {type(error).__name__}; see its log"))
    finally:
        board.begin_file()  # no row is at work now
    return EncodeResult(key=order.key, attempt=order.attempt, encoded=ref)


def encode(order: EncodeOrder, tokenizers: Tokenizers, board: Board) -> tuple[EncodedData, StoredPreview]:
    """The rows of the order's file as tokens. Raises: DataError; BaseUnusable, BaseRefused; InfraError."""
    board.begin_file()
    tokenizer = tokenizers.of(order.base, Path(order.cache_dir))
    task = TASKS.of(order.task).encoder(tokenizer, order.base.chat_template, order.data)
    checked = within_vocabulary(task, tokenizer, order.base.shape.vocab_size)
    taker = PreviewTaker(tokenizer, order.data.max_seq_len)
    data = encode_file(checked, order.data, order.dataset, on_line=board.at, on_row=taker.take)
    return data, taker.of(data)


def _usable(data: EncodedData, preview: StoredPreview, order: EncodeOrder) -> EncodedData:
    """`data`, if it can be trained on; else its preview is stored. Raises: DataError, StorageUnavailable."""
    try:
        return require_usable(data, order.dataset)
    except DataError:
        store_preview(data, preview, order.uri)
        raise


def failure(order: EncodeOrder, error: OrchardError, *, retryable: bool | None = None) -> EncodeResult:
    """The result of an order that `error` ended."""
    issues = tuple(map(storable, error.issues[:MAX_ISSUES])) if isinstance(error, DataError) else ()
    return EncodeResult(
        key=order.key,
        attempt=order.attempt,
        error_code=error.code if isinstance(error, WorkerError) else InfraError.code,
        message=str(error),
        retryable=error.retryable if retryable is None else retryable,
        issues=issues,
    )


def _die_with_parent() -> None:
    """Have the kernel end this process when the one that started it ends, in whatever way."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def _take_stdout() -> IO[bytes]:
    """The channel of results. What libraries print goes to stderr from now on."""
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return own


if __name__ == "__main__":
    main()

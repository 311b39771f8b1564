"""`ScriptedEncoder`: an encoder without a tokenizer. It encodes at once, unless its test holds it."""

import os
from collections import deque

from workers.contract.encoded import EncodedRef
from workers.contract.encoding import MAX_ORDERS, EncodeOrder, EncoderBusy, EncodeResult, EncoderReport
from workers.contract.errors import ErrorCode
from workers.contract.rows import RowIssue
from workers.contract.spec import DatasetRef

TOKENS_A_ROW = 8


class ScriptedEncoder:
    """An `Encoder`. With `prompt=False` orders stay until `finish` or `fail`."""

    def __init__(self, prompt: bool = True) -> None:
        self.prompt = prompt
        self.orders: list[EncodeOrder] = []
        self.seen: list[EncodeOrder] = []
        """Every order ever taken."""
        self.abandoned: list[str] = []
        self.rows_read = 0
        self._results: deque[EncodeResult] = deque(maxlen=2 * MAX_ORDERS)

    # The contract.

    def encode(self, order: EncodeOrder) -> None:
        known = [(each.key, each.attempt) for each in (*self.orders, *self._results)]
        if (order.key, order.attempt) in known:
            return
        if order.key in {each.key for each in self.orders}:
            self.orders = [order if each.key == order.key else each for each in self.orders]
            return
        if len(self.orders) >= MAX_ORDERS:
            raise EncoderBusy("it holds enough")
        self.orders.append(order)
        self.seen.append(order)
        if self.prompt:
            self.finish()

    def abandon(self, key: str) -> None:
        self.abandoned.append(key)
        self.orders = [order for order in self.orders if order.key != key]

    def poll(self) -> EncoderReport:
        return EncoderReport(
            pid=os.getpid(),
            orders=tuple((order.key, order.attempt) for order in self.orders),
            rows_read=self.rows_read if self.orders else 0,
            results=tuple(self._results),
        )

    # Events that the test triggers.

    def finish(self) -> None:
        """The first order is encoded."""
        order = self.orders.pop(0)
        self._results.append(
            EncodeResult(key=order.key, attempt=order.attempt, encoded=encoded_ref(order.dataset, order.uri, order.key))
        )

    def refuse(self, *issues: RowIssue, message: str = "file {file}: 1 row(s) cannot be used") -> None:
        """The first order's file has bad rows."""
        order = self.orders.pop(0)
        self._results.append(
            EncodeResult(
                key=order.key,
                attempt=order.attempt,
                error_code=ErrorCode.INVALID_TRAINING_FILE,
                message=message.format(file=order.dataset.file_id),
                issues=issues,
            )
        )

    def fail(self, code: ErrorCode = ErrorCode.STORAGE_UNAVAILABLE, *, retryable: bool = True) -> None:
        """The machine failed under the first order."""
        order = self.orders.pop(0)
        self._results.append(
            EncodeResult(
                key=order.key,
                attempt=order.attempt,
                error_code=code,
                message="storage is away",
                retryable=retryable,
            )
        )


def encoded_ref(dataset: DatasetRef, uri: str, key: str) -> EncodedRef:
    """What the rows of a file become here: all of them, of equal length."""
    return EncodedRef(
        uri=uri,
        sha256=key,
        bytes=8 * TOKENS_A_ROW * dataset.rows,
        rows=dataset.rows,
        tokens=TOKENS_A_ROW * dataset.rows,
        trained_tokens=TOKENS_A_ROW * dataset.rows // 2,
    )

"""`DirectEncoder`: an encoder with real tokenizers that encodes in the calling thread."""

import os
from collections import deque

from workers.contract.encoding import MAX_ORDERS, EncodeOrder, EncodeResult, EncoderReport
from workers.encoding.board import Board
from workers.encoding.process import carry_out
from workers.encoding.tokenizers import Tokenizers


class DirectEncoder:
    """An `Encoder`, whose orders are over when `encode` returns."""

    def __init__(self) -> None:
        self._tokenizers, self._board = Tokenizers(), Board.create()
        self._results: deque[EncodeResult] = deque(maxlen=2 * MAX_ORDERS)
        self.seen: list[EncodeOrder] = []

    def encode(self, order: EncodeOrder) -> None:
        self.seen.append(order)
        self._results.append(carry_out(order, self._tokenizers, self._board))

    def abandon(self, key: str) -> None:
        """Nothing is at work."""

    def poll(self) -> EncoderReport:
        return EncoderReport(pid=os.getpid(), results=tuple(self._results))

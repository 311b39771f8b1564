"""`WatchedEncoder`: gives orders to a process of its own, ends it when a row takes too long, and starts another."""

import contextlib
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from workers.contract.encoding import MAX_ORDERS, EncodeOrder, EncoderBusy, EncodeResult, EncoderReport
from workers.contract.errors import ErrorCode
from workers.contract.rows import RowIssue
from workers.encoding.board import Position
from workers.encoding.child import ChildProcess

LOOK_S: Final = 0.05
LIVELY_CPU_S: Final = 0.1
RESULTS_KEPT: Final = 2 * MAX_ORDERS
COMMAND: Final = (sys.executable, "-m", "workers.encoding.process")
log = logging.getLogger(__name__)


class WatchedEncoder:
    """Implements `Encoder`. Calls only read and change tables; a thread does the rest."""

    def __init__(self, command: Sequence[str] = COMMAND, clock: Callable[[], float] = time.monotonic) -> None:
        """`command` starts the process; the descriptor of its board is added."""
        self._command = tuple(command)
        self._clock = clock
        self._lock = threading.Lock()
        self._orders: deque[EncodeOrder] = deque()
        self._results: deque[EncodeResult] = deque(maxlen=RESULTS_KEPT)
        self._abandoned: set[str] = set()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._process: ChildProcess | None = None
        self._thread = threading.Thread(target=self._run, name="encoder", daemon=True)
        self._thread.start()

    def encode(self, order: EncodeOrder) -> None:
        """See `Encoder.encode`."""
        with self._lock:
            known = [(held.key, held.attempt) for held in self._orders]
            known += [(result.key, result.attempt) for result in self._results]
            if (order.key, order.attempt) in known:
                return
            if order.key in {held.key for held in self._orders}:
                self._orders = deque(order if held.key == order.key else held for held in self._orders)
                self._abandoned.discard(order.key)
                return
            if len(self._orders) >= MAX_ORDERS:
                raise EncoderBusy(f"the encoder holds {MAX_ORDERS} orders already")
            self._orders.append(order)
            self._abandoned.discard(order.key)
        self._wake.set()

    def abandon(self, key: str) -> None:
        """See `Encoder.abandon`."""
        with self._lock:
            if self._orders and self._orders[0].key == key:
                self._abandoned.add(key)
            else:
                self._orders = deque(order for order in self._orders if order.key != key)

    def poll(self) -> EncoderReport:
        """See `Encoder.poll`."""
        with self._lock:
            process = self._process
            return EncoderReport(
                pid=0 if process is None else process.pid,
                orders=tuple((order.key, order.attempt) for order in self._orders),
                rows_read=process.board.read().rows if process is not None and self._orders else 0,
                results=tuple(self._results),
            )

    def close(self) -> None:
        """End the process and the thread."""
        self._closing.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            with contextlib.suppress(OSError):
                self._start()  # it imports while the first order comes
            while not self._closing.is_set():
                self._wake.clear()
                order = self._orders[0] if self._orders else None
                if order is None:
                    self._wake.wait()
                    continue
                self._end(order, self._carry_out(order))
        finally:
            self._drop()

    def _end(self, begun: EncodeOrder, result: EncodeResult | None) -> None:
        """The first order is over, under the number of its newest attempt."""
        with self._lock:
            if result is None and self._orders[0] is not begun and begun.key not in self._abandoned:
                return  # it is wanted again since its process was ended, so it begins anew
            order = self._orders.popleft()
            self._abandoned.discard(order.key)
            if result is not None:
                self._results.append(result.model_copy(update={"attempt": order.attempt}))

    def _carry_out(self, order: EncodeOrder) -> EncodeResult | None:
        """The result; None when nobody needs it any more."""
        try:
            process = self._process or self._start()
            process.send(order)
            return self._watch(order, process)
        except Exception as error:  # it is gone, or could not be started; the thread has to go on
            log.warning("the encoding process failed", exc_info=True)
            self._drop()
            return _machine_failed(order, f"the encoding process failed: {type(error).__name__}")

    def _watch(self, order: EncodeOrder, process: ChildProcess) -> EncodeResult | None:
        begun_cpu_s, since = process.cpu_s(), self._clock()
        seen = sign_of_life(order, process.board.read(), begun_cpu_s)
        while True:
            if (answer := process.answer(LOOK_S)) is not None:
                return EncodeResult.model_validate_json(answer)
            now = process.board.read()
            if process.ended:
                code = process.exit_code
                self._drop()
                return _machine_failed(order, f"the encoding process ended with code {code}{_at(now)}")
            if self._closing.is_set() or order.key in self._abandoned:
                self._drop()
                return None
            used_cpu_s = process.cpu_s()
            if (sign := sign_of_life(order, now, used_cpu_s)) != seen:
                seen, since = sign, self._clock()
            verdict = _judged(order, now, used_cpu_s, begun_cpu_s, self._clock() - since)
            if verdict is not None and process.board.read() == now:
                self._drop()
                return verdict

    def _start(self) -> ChildProcess:
        process = ChildProcess(self._command)
        with self._lock:
            self._process = process
        return process

    def _drop(self) -> None:
        """Kill the process. The next order starts another."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()


def sign_of_life(order: EncodeOrder, at: Position, cpu_s: float) -> tuple[Position, int]:
    """Changes while the process gets on. Once all rows are tokens it stores them, which may take long and is told by
    nothing but its use of the processor, of which a connection that hangs makes none.
    """
    stores = not at.line and at.rows >= order.dataset.rows
    return at, int(cpu_s / LIVELY_CPU_S) if stores else 0


def _judged(order: EncodeOrder, at: Position, cpu_s: float, begun_cpu_s: float, still_s: float) -> EncodeResult | None:
    """The result if the process is over a limit, else None."""
    limits = order.limits
    if at.line and cpu_s - at.began_cpu_s > limits.row_s:
        message = f"turning this row into tokens takes longer than {limits.row_s:g} s; split the row, or shorten it"
        return _file_failed(order, RowIssue(line=at.line, code="row_too_slow", message=message))
    if at.line and cpu_s - begun_cpu_s > limits.file_s:
        message = f"turning the file into tokens takes longer than {limits.file_s:g} s; split the file"
        return _file_failed(order, RowIssue(line=at.line, code="file_too_slow", message=message))
    if still_s > limits.still_s:
        return _machine_failed(order, f"the encoding process made no progress for {limits.still_s:g} s{_at(at)}")
    return None


def _file_failed(order: EncodeOrder, issue: RowIssue) -> EncodeResult:
    file, place = order.dataset, order.dataset.container.place
    message = f"file {file.file_id}: 1 row(s) cannot be used: {place} {issue.line}; {issue.message}"
    return EncodeResult(
        key=order.key,
        attempt=order.attempt,
        error_code=ErrorCode.INVALID_TRAINING_FILE,
        message=message,
        issues=(issue,),
    )


def _machine_failed(order: EncodeOrder, message: str) -> EncodeResult:
    return EncodeResult(
        key=order.key, attempt=order.attempt, error_code=ErrorCode.ENCODING_FAILED, message=message, retryable=True
    )


def _at(position: Position) -> str:
    return f" at line {position.line}" if position.line else ""
